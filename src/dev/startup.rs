//! What is printed when the server is up, and when there is nothing to serve.

use super::console::{BOLD, CYAN, Console, DIM, GREEN};
use super::table::{Table, Target, hardware_text, method_name};
use crate::endpoint::{EndpointKind, Hardware};
use crate::project::Project;

/// How to write a first endpoint, for a project that has none.
pub(super) const NO_ENDPOINTS: &str = "\
no endpoints found in this folder

A queue-based one is a decorated function (save it as `worker.py`):

    from runpod_flash import Endpoint, GpuType

    @Endpoint(name=\"worker\", gpu=GpuType.ANY, workers=(0, 3))
    async def process(data: dict) -> dict:
        return {\"received\": data}

A load-balanced one is an object with routes:

    from runpod_flash import Endpoint

    api = Endpoint(name=\"api\", cpu=\"cpu3c-1-2\", workers=(1, 3))

    @api.get(\"/health\")
    async def health():
        return {\"status\": \"ok\"}

hint: `flash init` writes a project with both";

/// Lines of the endpoint table: name, kind, hardware, method and path, function.
pub(super) fn table_lines(table: &Table, console: &Console) -> Vec<String> {
    let mut rows: Vec<[String; 6]> = Vec::new();
    let mut last = "";
    for route in &table.routes {
        let Some((_, endpoint, _)) = table.declaration(route) else { continue };
        let is_first = endpoint.name != last;
        last = &endpoint.name;
        let once = |text: String| if is_first { text } else { String::new() };
        let kind = match route.target {
            Target::Queue(_) => "queue",
            Target::Balanced(_) => "load-balanced",
        };
        rows.push([
            once(endpoint.name.clone()),
            once(kind.to_owned()),
            once(hardware_text(&endpoint.config.hardware)),
            method_name(route.method).to_owned(),
            route.path.clone(),
            route.function.clone(),
        ]);
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let header = ["name", "kind", "hardware", "", "url", "function"].map(str::to_owned);
    let width = |column: usize| {
        rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let styles = [BOLD, DIM, DIM, GREEN, CYAN, DIM];
    let line = |row: &[String; 6], is_header: bool| {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, text)| {
                let text =
                    format!("{text}{}", " ".repeat(widths[column].saturating_sub(text.chars().count())));
                console.paint(if is_header { DIM } else { styles[column] }, &text)
            })
            .collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned()
    };
    std::iter::once(line(&header, true)).chain(rows.iter().map(|row| line(row, false))).collect()
}

/// Prints the block that says where the server is and what it serves.
pub(super) fn print(
    console: &Console,
    table: &Table,
    address: &str,
    targets: &[String],
    token: Option<&str>,
) {
    console.line("");
    console.done(&format!("{}  {}", console.paint(BOLD, "flash run"), console.paint(CYAN, address)));
    for (index, target) in targets.iter().enumerate() {
        console.note(&format!("{}  {target}", if index == 0 { "target" } else { "      " }));
    }
    let lines = table_lines(table, console);
    if !lines.is_empty() {
        console.line("");
        for line in &lines {
            console.line(line);
        }
    }
    console.line("");
    if let Some(token) = token {
        console.line(&format!("  token  {token}"));
        console.note("       every request needs it: `Authorization: Bearer TOKEN`, or open the docs once with `?token=TOKEN`");
    }
    let docs = match token {
        Some(token) => format!("{address}/docs?token={token}"),
        None => format!("{address}/docs"),
    };
    console.line(&format!("  {}  {docs}", console.paint(DIM, "docs")));
    console.line(&format!("  {}  ctrl+c", console.paint(DIM, "stop")));
    console.line("");
}

/// Names of the endpoints that ask for a GPU.
pub(super) fn gpu_endpoints(project: &Project) -> Vec<&str> {
    project
        .files
        .iter()
        .flat_map(|file| &file.endpoints)
        .filter(|endpoint| endpoint.kind != EndpointKind::Client)
        .filter(|endpoint| matches!(endpoint.config.hardware, Hardware::Gpu { .. }))
        .map(|endpoint| endpoint.name.as_str())
        .collect()
}

/// Whether this machine has a GPU that CUDA can use.
pub(super) fn has_gpu() -> bool {
    // The driver's device files; `/dev/dxg` is the one of WSL.
    ["/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd"]
        .iter()
        .any(|device| std::path::Path::new(device).exists())
}

/// Names of the endpoints that are served.
pub(super) fn served(project: &Project) -> impl Iterator<Item = String> {
    let endpoints = project.files.iter().flat_map(|file| &file.endpoints);
    endpoints.filter(|endpoint| endpoint.kind != EndpointKind::Client).map(|endpoint| endpoint.name.clone())
}
