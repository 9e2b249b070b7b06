//! What is printed when the server is up, and when there is nothing to serve.

use anstyle::Style;

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

/// Columns of the endpoint table.
const HEADER: [&str; 6] = ["name", "kind", "hardware", "", "url", "function"];
const STYLES: [Style; 6] = [BOLD, DIM, DIM, GREEN, CYAN, DIM];

/// Lines of the endpoint table: name, kind, hardware, method and path, function. Where that is wider
/// than the terminal, an endpoint has a line of its own above its routes.
pub(super) fn table_lines(table: &Table, console: &Console) -> Vec<String> {
    let rows = rows(table);
    if rows.is_empty() {
        return Vec::new();
    }
    let header = HEADER.map(str::to_owned);
    let columns = widths(&[&rows[..], std::slice::from_ref(&header)].concat());
    let wide = columns.iter().sum::<usize>() + 2 * columns.len();
    if console.width().is_none_or(|width| wide <= width) {
        let heading = line(console, &header, &columns, &[DIM; 6]);
        return std::iter::once(heading)
            .chain(rows.iter().map(|row| line(console, row, &columns, &STYLES)))
            .collect();
    }
    let mut lines = Vec::new();
    let routes = widths(&rows);
    for row in &rows {
        if !row[0].is_empty() {
            lines.push(line(console, &row[..3], &[0; 3], &STYLES[..3]));
        }
        lines.push(format!("  {}", line(console, &row[3..], &[routes[3], 0, 0], &STYLES[3..])));
    }
    lines
}

fn rows(table: &Table) -> Vec<[String; 6]> {
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
    rows
}

/// The widest cell of each column.
fn widths(rows: &[[String; 6]]) -> [usize; 6] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
}

fn line(console: &Console, row: &[String], widths: &[usize], styles: &[Style]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .zip(styles)
        .map(|((text, width), style)| {
            let blanks = " ".repeat(width.saturating_sub(text.chars().count()));
            console.paint(*style, &format!("{text}{blanks}"))
        })
        .collect();
    format!("  {}", cells.join("  ")).trim_end().to_owned()
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
