"""CPU instances: the disk that their workers may have, and the fields that CPU endpoints do not send."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import field_serializer

from .. import CpuInstanceType, _core, _official

if TYPE_CHECKING:
    from .template import PodTemplate

#: Disk of a worker at most, in GB.
CPU_INSTANCE_DISK_LIMITS: dict[CpuInstanceType, int] = {
    instance: int(_core.cpu_max_disk([instance.value]) or 0) for instance in CpuInstanceType
}

#: Disk in GB that a template has where nothing is said.
DEFAULT_DISK = 64


def calculate_max_disk_size(instance_type: CpuInstanceType) -> int:
    """Return the disk that a worker may have at most, in GB."""
    return CPU_INSTANCE_DISK_LIMITS[CpuInstanceType(instance_type)]


def get_max_disk_size_for_instances(instance_types: list[CpuInstanceType] | None) -> int | None:
    """Return the disk that fits each of the instances, in GB; ``None`` for no instance."""
    return min(map(calculate_max_disk_size, instance_types), default=None) if instance_types else None


def size_disk(template: "PodTemplate", instances: list[CpuInstanceType] | None) -> None:
    """Give a template whose disk was left alone the disk that its instances can have."""
    limit = get_max_disk_size_for_instances(instances)
    if limit is not None and template.containerDiskInGb == DEFAULT_DISK:
        template.containerDiskInGb = limit


def check_disk(template: "PodTemplate", instances: list[CpuInstanceType] | None, hint: str = "") -> None:
    """Refuse a disk that an instance cannot have."""
    limit = get_max_disk_size_for_instances(instances)
    disk = template.containerDiskInGb
    if limit is None or disk is None or disk <= limit:
        return
    each = ", ".join(f"{instance.value}: max {calculate_max_disk_size(instance)}GB" for instance in instances or ())
    raise ValueError(
        f"Container disk size {disk}GB exceeds the maximum allowed for CPU instances. "
        f"Instance limits: {each}. Maximum allowed: {limit}GB{hint}"
    )


class CpuEndpointMixin:
    """An endpoint whose workers have no GPU: what is about GPUs is empty, and not sent."""

    _is_cpu_class: ClassVar[bool] = True

    @field_serializer("instanceIds", check_fields=False)
    def serialize_instance_ids(self, value: list[CpuInstanceType] | None) -> list[str] | None:
        """Write the instances as Runpod spells them."""
        return None if value is None else [instance.value for instance in value]


_official.adopt("legacy.cpu")
