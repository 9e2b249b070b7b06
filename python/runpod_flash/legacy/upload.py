"""A build on its way to Runpod's storage."""

import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from . import constants
from .backoff import get_backoff_delay

_PIECE = 1024 * 1024


def check(path: Path) -> None:
    """Refuse what is no build."""
    if not path.exists():
        raise FileNotFoundError(f"Tarball file not found: {path}")
    if not path.is_file():
        raise ValueError(f"Path is not a file: {path}")
    if not path.name.endswith(constants.VALID_TARBALL_EXTENSIONS):
        extensions = ", ".join(constants.VALID_TARBALL_EXTENSIONS)
        raise ValueError(f"Invalid file extension: {path.name}; expected one of {extensions}")
    with path.open("rb") as file:
        if file.read(2) != bytes(constants.GZIP_MAGIC_BYTES):
            raise ValueError(f"File is not a valid gzip file: {path}")
    size = path.stat().st_size / 1024**2
    if size > constants.MAX_TARBALL_SIZE_MB:
        raise ValueError(f"Tarball is {size:.1f} MB, over the {constants.MAX_TARBALL_SIZE_MB} MB that Runpod takes")


def put(path: Path, url: str, progress: Callable[[int], None] | None) -> None:
    """Send a build to a signed URL, which no message shows."""
    last: Exception | None = None
    for attempt in range(constants.UPLOAD_MAX_RETRIES):
        if attempt:
            base, most = constants.UPLOAD_BACKOFF_BASE_SECONDS, constants.UPLOAD_BACKOFF_MAX_SECONDS
            time.sleep(get_backoff_delay(attempt - 1, base, most))
        try:
            status = _put(path, url, progress)
        except http.client.HTTPException as error:
            last = error
        except OSError as error:
            import ssl

            if isinstance(error, ssl.SSLCertVerificationError):
                raise
            last = error
        else:
            if status < 400:
                return
            raise ConnectionError(f"Runpod's storage answered {status} to the upload of {path.name}")
    raise ConnectionError(f"cannot upload {path.name}: {type(last).__name__}") from None


def _put(path: Path, url: str, progress: Callable[[int], None] | None) -> int:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=constants.UPLOAD_TIMEOUT_SECONDS)
    headers = {"Content-Type": constants.TARBALL_CONTENT_TYPE, "Content-Length": str(path.stat().st_size)}
    try:
        connection.request("PUT", f"{parts.path}?{parts.query}", _pieces(path, progress), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _pieces(path: Path, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
            if progress is not None:
                progress(len(piece))
