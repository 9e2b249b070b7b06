//! One fixture folder and one snapshot per rule, and what needs files made on the spot.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::diagnostic::render;
use super::model::{Parameter, Project};
use super::reader::Reader;

fn reader(root: &Path) -> Reader {
    // No interpreter: what is tested here must be read without one.
    Reader::new(root, PathBuf::from("no-python-in-these-tests"))
}

/// Endpoints and findings of a project as text.
fn shown(project: &Project) -> String {
    let mut text = String::new();
    for file in &project.files {
        for endpoint in &file.endpoints {
            let variable = endpoint.variable.as_deref().unwrap_or("no variable");
            let calls = if endpoint.makes_remote_calls { ", calls others" } else { "" };
            let _ = writeln!(
                text,
                "{}: `{}` {:?} ({variable}{calls})",
                file.path.display(),
                endpoint.name,
                endpoint.kind
            );
            for callable in &endpoint.callables {
                let route = callable
                    .route
                    .as_ref()
                    .map(|(method, path)| format!("{method} {path} "))
                    .unwrap_or_default();
                let _ = writeln!(text, "  {route}{}({})", callable.name, parameters(&callable.parameters));
                for method in callable.methods.iter().flatten() {
                    let _ = writeln!(text, "    .{}({})", method.name, parameters(&method.parameters));
                }
            }
        }
    }
    for diagnostic in &project.diagnostics {
        let _ = write!(text, "\n[{}]\n{}\n", diagnostic.rule, render(diagnostic, project, false));
    }
    text
}

fn parameters(parameters: &[Parameter]) -> String {
    let shown: Vec<_> = parameters
        .iter()
        .map(|parameter| {
            let annotation =
                parameter.annotation.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            let default = parameter.default.as_ref().map(|text| format!(" = {text}")).unwrap_or_default();
            format!("{}{annotation}{default}", parameter.name)
        })
        .collect();
    shown.join(", ")
}

#[test]
fn every_rule_says_what_its_snapshot_says() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/project/fixtures");
    let mut cases: Vec<_> = fs::read_dir(&fixtures).unwrap().flatten().map(|entry| entry.path()).collect();
    cases.sort();
    assert!(cases.len() > 20);
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let project = reader(&case).read();
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(name, shown(&project));
        });
    }
}

#[test]
fn values_and_schemas_are_read_from_the_source() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/project/fixtures/static-values");
    let project = reader(&fixtures).read();
    let app = project.files.iter().find(|file| file.path == Path::new("app.py")).unwrap();
    let found: Vec<_> = app
        .endpoints
        .iter()
        .map(|endpoint| {
            let schemas: Vec<_> = endpoint.callables.iter().map(|callable| &callable.input_schema).collect();
            serde_json::json!({"config": format!("{:#?}", endpoint.config), "schemas": schemas})
        })
        .collect();
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        let text: Vec<_> = found
            .iter()
            .map(|found| {
                let schemas = serde_json::to_string_pretty(&found["schemas"]).unwrap();
                format!("{}\n{schemas}", found["config"].as_str().unwrap())
            })
            .collect();
        insta::assert_snapshot!("static-values-and-schemas", text.join("\n\n"));
    });
    let closure: Vec<_> = app.closure.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(closure, ["app.py", "config.py"]);
}

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), bytes).unwrap();
}

const WORKER: &str =
    "from runpod_flash import Endpoint\n\n@Endpoint(name=\"NAME\")\nasync def run(x: int): ...\n";

fn names(project: &Project) -> Vec<&str> {
    project.files.iter().flat_map(|file| &file.endpoints).map(|endpoint| endpoint.name.as_str()).collect()
}

fn rules(project: &Project) -> Vec<(&str, String)> {
    project
        .diagnostics
        .iter()
        .map(|found| {
            let file = found.primary.as_ref().map(|label| label.span.file.display().to_string());
            (found.rule, file.unwrap_or_default())
        })
        .collect()
}

#[test]
fn broken_files_are_reported_and_the_others_keep_working() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "good.py", WORKER.replace("NAME", "good"));
    write(root, "bom.py", format!("\u{feff}{}", WORKER.replace("NAME", "bom")));
    write(root, "crlf.py", WORKER.replace("NAME", "crlf").replace('\n', "\r\n"));
    write(
        root,
        "latin.py",
        [b"# -*- coding: latin-1 -*-\n# caf\xe9\n".as_slice(), WORKER.replace("NAME", "latin").as_bytes()]
            .concat(),
    );
    write(root, "not_utf8.py", [WORKER.replace("NAME", "x").as_bytes(), b"# \xff\n"].concat());
    write(root, "null.py", [WORKER.replace("NAME", "x").as_bytes(), b"\0"].concat());
    write(
        root,
        "huge.py",
        [WORKER.replace("NAME", "x").as_bytes(), "# padding\n".repeat(1_000_000).as_bytes()].concat(),
    );
    write(
        root,
        "deep.py",
        format!("{}x = {}1{}\n", WORKER.replace("NAME", "x"), "[".repeat(100_000), "]".repeat(100_000)),
    );
    write(root, "long.py", format!("{}x = 1{}\n", WORKER.replace("NAME", "x"), "+1".repeat(200_000)));
    write(root, "folder.py/inner.py", WORKER.replace("NAME", "inner"));
    let project = reader(root).read();
    assert_eq!(names(&project), ["bom", "crlf", "inner", "good", "latin"]);
    let expected = [
        ("syntax-error", "deep.py"),
        ("file-too-large", "huge.py"),
        ("syntax-error", "long.py"),
        ("encoding", "not_utf8.py"),
        ("encoding", "null.py"),
    ];
    assert_eq!(rules(&project), expected.map(|(rule, file)| (rule, file.to_owned())));
}

#[test]
fn column_of_a_finding_counts_characters_in_every_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let line = "x = 'größe'; y = Endpoint(name='a', worker=1)\r\n";
    write(folder.path(), "app.py", format!("\u{feff}from runpod_flash import Endpoint\r\n{line}"));
    let project = reader(folder.path()).read();
    let text = render(&project.diagnostics[0], &project, false);
    assert!(text.contains("--> app.py:2:37"), "{text}");
    assert!(!text.contains('\r'), "{text}");
}

#[test]
fn update_reads_only_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "a.py", WORKER.replace("NAME", "a"));
    write(
        root,
        "b.py",
        "from runpod_flash import Endpoint\nfrom config import NAME\n@Endpoint(name=NAME)\ndef f(): ...\n",
    );
    write(root, "config.py", "NAME = 'first'\n");
    let mut reader = reader(root);
    assert_eq!(names(&reader.read()), ["a", "first"]);
    // Changed on disk, but not said to be: the old content stays.
    write(root, "a.py", WORKER.replace("NAME", "changed"));
    write(root, "config.py", "NAME = 'second'\n");
    assert_eq!(names(&reader.update(&[PathBuf::from("config.py")])), ["a", "second"]);
    assert_eq!(names(&reader.update(&[fs::canonicalize(root).unwrap().join("a.py")])), ["changed", "second"]);
    write(root, "new/c.py", WORKER.replace("NAME", "c"));
    fs::remove_file(root.join("b.py")).unwrap();
    assert_eq!(names(&reader.update(&[PathBuf::from("new"), PathBuf::from("b.py")])), ["changed", "c"]);
}

#[test]
fn use_that_is_not_recognised_makes_a_file_an_imported_one() {
    for body in [
        "for n in ['a', 'b']:\n    @Endpoint(name=n)\n    def f(): ...\n",
        "eps = [Endpoint(name=n) for n in names]\n",
        "def make(name):\n    return Endpoint(name=name)\nf = make('x')\n",
        "def make(name):\n    return Endpoint(name=name)\n@make('x')\ndef f(): ...\n",
        "import functools\nE = functools.partial(Endpoint, cpu='cpu3c-1-2')\n",
        "class Mine(Endpoint): ...\n",
        "@Endpoint(name=compute())\ndef f(): ...\n",
        "api = Endpoint(name='x')\nregister(api)\n",
        "api = Endpoint(name='x')\napi.get('/x')(print)\n",
        "f = Endpoint(name='x')(print)\n",
        "import os\nif os.path.exists('x'):\n    @Endpoint(name='x')\n    def f(): ...\n",
        "def add(api):\n    pass\napi = Endpoint(name='x')\nadd(api)\n",
        "api = Endpoint(name='x')\ndef add():\n    @api.get('/x')\n    def f(): ...\nadd()\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "app.py", format!("from runpod_flash import Endpoint\n{body}"));
        let project = reader(folder.path()).read();
        assert_eq!(rules(&project), [("import-failed", "app.py".to_owned())], "{body}");
    }
}

#[test]
fn use_that_makes_no_endpoint_leaves_a_file_static() {
    for body in [
        "async def main():\n    ep = Endpoint(id='x')\n    return await ep.run({})\nimport asyncio\nasyncio.run(main())\n",
        "def check(x: Endpoint) -> bool:\n    return isinstance(x, Endpoint)\ncheck(1)\n",
        "if __name__ == '__main__':\n    print(Endpoint(name='x').name)\n",
        "E = Endpoint\n@E(name='ok')\ndef f(): ...\n",
        "print('Endpoint')\n",
        "models = Endpoint(id='x')\nprint(models)\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "app.py", format!("from runpod_flash import Endpoint\n{body}"));
        let project = reader(folder.path()).read();
        assert_eq!(rules(&project), [], "{body}");
    }
}

#[test]
#[cfg(unix)]
fn unreadable_file_is_reported() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.py", WORKER.replace("NAME", "good"));
    symlink("nowhere.py", folder.path().join("dangling.py")).unwrap();
    let project = reader(folder.path()).read();
    assert_eq!(names(&project), ["good"]);
    assert_eq!(rules(&project), [("unreadable-path", "dangling.py".to_owned())]);
}

/// A stand-in for Python: counts its calls, and answers with what is in `answer`.
#[cfg(unix)]
fn stand_in(folder: &Path, body: &str) -> PathBuf {
    let script = folder.join("python");
    let text = format!("#!/bin/sh\ncd '{}'\necho \"$5\" >> calls\n{body}\n", folder.display());
    // Written by a process of its own: a file that this one had open could not be started while
    // another test forks.
    let written = std::process::Command::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", &text])
        .arg(&script)
        .status();
    assert!(written.unwrap().success());
    script
}

#[test]
#[cfg(unix)]
fn imported_file_is_imported_again_only_when_it_or_its_imports_changed() {
    let tools = tempfile::tempdir().unwrap();
    let python = stand_in(tools.path(), "cat answer");
    let answer = r#"{"endpoints": [{"variable": null, "arguments": [["name", {"t": "str", "v": "made"}]],
        "items": [{"name": "work", "defined": "work", "line": 5, "is_class": false, "method": null, "path": null}]}]}"#;
    fs::write(tools.path().join("answer"), answer.replace('\n', " ")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let text = "from runpod_flash import Endpoint\nfrom names import NAMES\n\nfor n in NAMES:\n    @Endpoint(name=n)\n    async def work(x: int, y=2): ...\n";
    write(root, "pkg/app.py", text);
    write(root, "names.py", "NAMES = list('a')\n");
    write(root, "other.py", "x = 1\n");
    let mut reader = Reader::new(root, python);
    let project = reader.read();
    assert_eq!((names(&project), rules(&project)), (vec!["made"], vec![]));
    let callable = &project.files[2].endpoints[0].callables[0];
    assert_eq!((callable.span.start, parameters(&callable.parameters).as_str()), (101, "x: int, y = 2"));
    let calls = || fs::read_to_string(tools.path().join("calls")).unwrap();
    assert_eq!(calls(), "pkg.app\n");
    write(root, "other.py", "x = 2\n");
    reader.update(&[PathBuf::from("other.py")]);
    assert_eq!(calls(), "pkg.app\n");
    write(root, "names.py", "NAMES = list('b')\n");
    assert_eq!(names(&reader.update(&[PathBuf::from("names.py")])), ["made"]);
    assert_eq!(calls(), "pkg.app\npkg.app\n");
}

#[test]
#[cfg(unix)]
fn process_without_an_answer_is_named_with_how_it_ended() {
    for (body, expected) in [
        ("exit 4", "ended with exit status 4"),
        ("kill -9 $$", "ended with signal 9"),
        ("echo nonsense", "ended with exit status 0"),
    ] {
        let tools = tempfile::tempdir().unwrap();
        let python = stand_in(tools.path(), body);
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            "app.py",
            "from runpod_flash import Endpoint\nx = [Endpoint(name=n) for n in 'a']\n",
        );
        write(folder.path(), "good.py", WORKER.replace("NAME", "good"));
        let project = Reader::new(folder.path(), python).read();
        assert_eq!(names(&project), ["good"]);
        let text = render(&project.diagnostics[0], &project, false);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("--> app.py:2:6"), "{text}");
    }
}

/// Lines that mean something to the reader, in all states of repair.
const LINES: [&str; 24] = [
    "from runpod_flash import Endpoint, GpuType",
    "import runpod_flash as rf",
    "from a import *",
    "from . import a, b",
    "from .. import above",
    "api = Endpoint(name='x', **dict(a=1), **{'cpu': 'cpu3c-1-2'})",
    "@api.get('/x')",
    "@api.post(path=f'/{name}')",
    "@Endpoint(name=name, workers=(1, 2), gpu=[GpuType.NVIDIA_L4, *more])",
    "@rf.Endpoint('größe', env={'A': os.environ['B']})",
    "async def f(x: int = 3, *args, y: 'list[P]' = [], **kw): yield x",
    "class P(BaseModel): x: 'P | None' = None",
    "    def method(self, x): return self",
    "if name == 'x':",
    "else:",
    "    name = 'x' + name % (1,)",
    "for name in [api, api]:",
    "    @Endpoint(name=name)",
    "name = names[-1]['a'] or os.getenv('X', 3) if not name else -name",
    "names += [name, {**names}, lambda: api]",
    "try:",
    "except (A, B) as name:",
    "x = f\"{name!r:>{width}} {'\\n'}\"",
    "\tname = '\\ud800' \u{1F680}",
];

#[test]
fn file_saved_half_way_is_broken_and_not_without_endpoints() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.py", WORKER.replace("NAME", "a"));
    let mut reader = reader(folder.path());
    assert_eq!(names(&reader.read()), ["a"]);
    write(folder.path(), "a.py", "from runpod");
    let project = reader.update(&[PathBuf::from("a.py")]);
    assert!(
        project.diagnostics.iter().any(|found| found.rule == "syntax-error"),
        "{:?}",
        project.diagnostics
    );
    write(folder.path(), "a.py", "x = 1\n");
    assert!(reader.update(&[PathBuf::from("a.py")]).diagnostics.is_empty());
}

#[test]
fn file_too_large_to_parse_is_named_only_where_it_may_have_endpoints() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "#".repeat(9 << 20);
    write(folder.path(), "data.py", rest.clone());
    // The word lies across two pieces that are read.
    write(folder.path(), "big.py", format!("{}Endpoint{rest}", "#".repeat((8 << 20) - 3)));
    let project = reader(folder.path()).read();
    let found: Vec<_> = project.diagnostics.iter().filter(|found| found.rule == "file-too-large").collect();
    assert_eq!(found.len(), 1, "{:?}", project.diagnostics);
    assert_eq!(found[0].primary.as_ref().unwrap().span.file, PathBuf::from("big.py"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn any_mixture_of_lines_is_read_to_the_end(picked in proptest::collection::vec(0..LINES.len(), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<_> = picked.iter().map(|index| LINES[*index]).collect();
        write(folder.path(), "a.py", format!("# Endpoint\n{}\n", text.join("\n")));
        write(folder.path(), "pkg/b.py", format!("# Endpoint\nfrom a import *\n{}\n", text.join("\r\n")));
        write(folder.path(), "good.py", WORKER.replace("NAME", "good"));
        let project = reader(folder.path()).read();
        // A panic while reading would leave nothing of the project.
        proptest::prop_assert_eq!(project.files.len(), 3);
        for diagnostic in &project.diagnostics {
            proptest::prop_assert!(!render(diagnostic, &project, true).is_empty());
        }
    }
}
