"""What scripts that clean up use of `ResourceManager`."""

from runpod_flash import ResourceManager


async def main():
    manager = ResourceManager()
    assert not [key for key in manager.list_all_resources() if "p39" in key]
    assert manager.find_resources_by_name("p39") == []
    outcome = await manager.undeploy_resource("ServerlessEndpoint:p39")
    assert outcome["success"] is False
