"""``install_agent_files``: what coding assistants should know of a Flash project."""

from pathlib import Path

from .. import _official

_TEXT = """# Flash: rules for coding assistants

- Use the `flash` command (`flash run`, `flash build`, `flash deploy`) and `runpod_flash`; do not call Runpod's
  REST or GraphQL APIs by hand.
- Declare endpoints with `Endpoint`: `@Endpoint(name="work", gpu=GpuGroup.ANY, dependencies=["torch"])` on a
  function or class, or `api = Endpoint(name="api", cpu="cpu3c-1-2")` with `@api.get("/path")` for routes.
- `await` decorated functions. Import heavy packages inside the function; name them in `dependencies=[...]`.
- Test here first: `flash run` serves the project on this machine, http://localhost:8888/docs shows it.
- Never print or commit RUNPOD_API_KEY; `flash login` keeps it.
"""


def install_agent_files(target_dir: Path) -> list[Path]:
    """Write ``AGENTS.md`` and ``CLAUDE.md`` where they are missing; return the new files."""
    written = []
    for name in ("AGENTS.md", "CLAUDE.md"):
        path = Path(target_dir) / name
        if not path.exists():
            path.write_text(_TEXT, encoding="utf-8")
            written.append(path)
    return written


_official.adopt("legacy.agents")
