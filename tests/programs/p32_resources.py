"""The older API's resources of images: deployed, asked where they are, run, removed."""

from runpod_flash import GpuGroup, ServerlessEndpoint

IMAGE = "runpod/flash:py3.12-latest"
by_template = ServerlessEndpoint(name="p32-template", templateId="tpl123", gpus=[GpuGroup.AMPERE_16])
by_image = ServerlessEndpoint(name="p32-image", imageName=IMAGE, gpus=[GpuGroup.ADA_24], workersMax=1)

# What an image of Flash's own takes as its input.
CODE = "def f(x): return x * 2"
BODY = {"input": {"function_name": "f", "function_code": CODE, "serialization_format": "json", "args": [21]}}


async def main():
    assert (by_template.templateId, by_template.template, by_template.id) == ("tpl123", None, None)
    assert by_image.id is None
    assert await by_image.deploy() is by_image
    assert by_image.endpoint_url.endswith(f"/v2/{by_image.id}")
    job = await by_image.run(BODY)
    assert job.status == "COMPLETED", job
    assert job.output["json_result"] == 42  # mypy: index  pyright: reportOptionalSubscript
    assert (await by_image.runsync(BODY)).output["json_result"] == 42  # mypy: index  pyright: reportOptionalSubscript
    assert await by_image.undeploy()
