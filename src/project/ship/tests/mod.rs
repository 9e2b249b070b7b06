//! What travels, and what does not. Whether it runs is tested where there is a Python (`tests/test_ship.py`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn request<'a>(
    text: &'a str,
    file: &'a Path,
    roots: &'a [PathBuf],
    name: &'a str,
    none: &'a BTreeSet<String>,
) -> Request<'a> {
    Request { text, file, roots, name, line: None, known: none, also: none, endpoints: none }
}

fn shipped(text: &str) -> Result<Shipment, ShipError> {
    ship(&request(text, Path::new("app.py"), &[], "f", &BTreeSet::new()))
}

fn code(text: &str) -> String {
    let shipment = shipped(text).unwrap();
    format!("{}{}", shipment.future, shipment.code)
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    root
}

const HEAD: &str = "from runpod_flash import Endpoint, GpuType\n";

#[test]
fn only_what_is_used_travels_in_source_order() {
    let text = format!(
        "{HEAD}import os, json as j, sys\nfrom math import (\n    floor,  # used\n    ceil,\n)\nUNUSED = sys.argv\nLIMIT = 3\n\n\
         def helper(x):\n    return floor(x) + LIMIT\n\ndef other():\n    return UNUSED\n\n\
         @Endpoint(name='e', gpu=GpuType.ANY)\n@helper.decorate\n# why\nasync def f(x: 'Unknown') -> int:\n    '''Text.'''\n    return j.dumps(helper(x))\n\n\
         if __name__ == '__main__':\n    print(LIMIT)\n"
    );
    assert_snapshot!(code(&text), @r"
    import json as j
    from math import floor
    LIMIT = 3
    def helper(x):
        return floor(x) + LIMIT
    @helper.decorate
    async def f(x: 'Unknown') -> int:
        '''Text.'''
        return j.dumps(helper(x))
    ");
}

#[test]
fn another_endpoint_is_replaced_by_a_call_of_it() {
    let text = format!(
        "{HEAD}from typing import Any\nK = 1\n@Endpoint(name='g', gpu=GpuType.ANY)\ndef g(a, /, b: Any = K, *rest, c=2, **more) -> dict[str, int]:\n    return hidden\n\
         @Endpoint(name='C')\nclass C(Base):\n    def go(self): ...\n\
         @Endpoint(name='items')\nasync def items(): yield 1\n\
         @Endpoint(name='e')\nasync def f(x):\n    alias = g\n    return await alias(x), await C(1).go(), await items()\n"
    );
    assert_snapshot!(code(&text), @r#"
    from typing import Any
    K = 1
    async def g(a, /, b: Any = K, *rest, c=2, **more) -> dict[str, int]: return await __import__("_flash_callees").call("app.py:g", (a, b, *rest, ), {"c": c, **more, })
    class C:
        def __init__(self, *args, **kwargs): self._flash = __import__("_flash_callees").instance("app.py:C", args, kwargs)
        def __getattr__(self, name): return self._flash.method(name)
    def items(): return __import__("_flash_callees").generation("app.py:items", (), {})
    async def f(x):
        alias = g
        return await alias(x), await C(1).go(), await items()
    "#);
    let names: Vec<(String, bool)> =
        shipped(&text).unwrap().callees.into_iter().map(|callee| (callee.name, callee.is_class)).collect();
    assert_eq!(names, [("C".to_owned(), true), ("g".to_owned(), false), ("items".to_owned(), false)]);
}

#[test]
fn names_without_source_are_told_with_their_lines() {
    let text = format!(
        "{HEAD}CONFIG = None\nPATH = open(__file__).name\ndef main():\n    global CONFIG\n    CONFIG = 1\n\
         def make(n):\n    import os\n    word = n\n    def f():\n        return word, n, CONFIG, MADE, PATH, os.sep, len(word)\n    return f\n"
    );
    let none = BTreeSet::new();
    let found = ship(&request(&text, Path::new("app.py"), &[], "make.<locals>.f", &none)).unwrap();
    let told: Vec<_> =
        found.values.iter().map(|value| (value.name.as_str(), value.line, value.is_required)).collect();
    assert_eq!(
        told,
        [
            ("CONFIG", 11, false),
            ("MADE", 11, true),
            ("PATH", 11, false),
            ("__file__", 3, false),
            ("n", 11, true),
            ("word", 11, true)
        ]
    );
    assert_snapshot!(found.code, @r"
    CONFIG = None
    PATH = open(__file__).name
    import os
    if True:
        def f():
            return word, n, CONFIG, MADE, PATH, os.sep, len(word)
    ");
}

#[test]
fn local_modules_travel_with_packages_and_stand_ins() {
    let root = folder(&[
        ("pkg/__init__.py", ""),
        (
            "pkg/app.py",
            "from . import util\nfrom .deep.er import x as y\nfrom runpod_flash import Endpoint\n@Endpoint(name='e')\ndef f():\n    from .late import z\n    return util.u, y, z\n",
        ),
        ("pkg/util.py", "import shared\nu = shared.s\n"),
        ("pkg/late.py", "z = 1\n"),
        ("pkg/deep/__init__.py", ""),
        ("pkg/deep/er.py", "x = 1\n"),
        ("pkg/unused.py", "boom\n"),
        (
            "shared.py",
            "from runpod_flash import Endpoint\ns = 2\n@Endpoint(name='g')\ndef g(a=1): return a\n",
        ),
    ]);
    let roots = [root.path().to_path_buf()];
    let file = root.path().join("pkg/app.py");
    let text = fs::read_to_string(&file).unwrap();
    let none = BTreeSet::new();
    let found = ship(&request(&text, &file, &roots, "f", &none)).unwrap();
    assert_snapshot!(found.code, @r"
    from pkg import util
    from pkg.deep.er import x as y
    def f():
        from pkg.late import z
        return util.u, y, z
    ");
    let paths: Vec<&str> = found.modules.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "pkg/__init__.py",
            "pkg/deep/__init__.py",
            "pkg/deep/er.py",
            "pkg/late.py",
            "pkg/util.py",
            "shared.py"
        ]
    );
    assert_snapshot!(found.modules["shared.py"], @r#"
    from runpod_flash import Endpoint
    s = 2
    async def g(a=1): return await __import__("_flash_callees").call("shared.py:g", (a, ), {})
    "#);
    assert_eq!(found.callees[0].file, root.path().join("shared.py"));
}

#[test]
fn what_cannot_travel_is_an_error_that_says_where() {
    let error = shipped("def f(:\n").unwrap_err();
    assert_eq!(error.to_string().split(": ").next(), Some("app.py:1"));
    assert_eq!(shipped("g = 1\n").unwrap_err().to_string(), "app.py has no function or class `f`");

    let root = folder(&[("big.py", &format!("x = '{}'\n", "a".repeat(LIMIT)))]);
    let outside = folder(&[("out.py", "x = 1\n")]);
    std::os::unix::fs::symlink(outside.path().join("out.py"), root.path().join("linked.py")).unwrap();
    let roots = [root.path().to_path_buf()];
    let file = root.path().join("app.py");
    let none = BTreeSet::new();
    let refuse = |text: &str| ship(&request(text, &file, &roots, "f", &none)).unwrap_err();
    assert!(
        matches!(refuse("def f():\n    import big\n"), ShipError::TooLarge { bytes, .. } if bytes > LIMIT)
    );
    assert!(matches!(refuse("def f():\n    import linked\n"), ShipError::Outside { .. }));
    assert!(matches!(refuse("from .. import above\ndef f(): return above\n"), ShipError::Unresolved { .. }));
    // What nobody uses does no harm.
    assert!(ship(&request("import big, linked\ndef f(): pass\n", &file, &roots, "f", &none)).is_ok());
}

#[test]
fn a_name_that_is_defined_again_is_taken_at_its_line() {
    let text = "def f(): return 1\n\n@x\ndef f(): return 2\n\ndef f(): return 3\n";
    let none = BTreeSet::new();
    let at = |line| {
        let request = Request { line, ..request(text, Path::new("app.py"), &[], "f", &none) };
        ship(&request).unwrap().code
    };
    assert_eq!(at(Some(1)), "def f(): return 1\n");
    assert_eq!(at(Some(3)), "@x\ndef f(): return 2\n");
    assert_eq!(at(None), "def f(): return 3\n");
}

proptest! {
    /// Nothing that is read makes it panic, and what travels can be read again.
    #[test]
    fn any_text_is_shipped_or_refused(text in "(def |f|\\(|\\)|:|\n|    |x|=|1|import |from |class |@|\\.|,|\\[|\\]|lambda |\"|#|global |for |in ){0,40}") {
        if let Ok(found) = shipped(&text) {
            prop_assert!(crate::project::syntax::parse_module(&found.code).is_ok(), "{}", found.code);
        }
    }

    /// Any chain of helpers travels whole, whatever their order, and nothing else does.
    #[test]
    fn helpers_travel_whatever_their_order(order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(), used in 0..8_usize) {
        let mut text = format!("def f(): return h{used}()\n");
        for index in &order {
            // Each uses the next two, as far as there are any.
            let (one, two) = (index + 2, index + 3);
            _ = write!(text, "def h{index}(): return h{one}() + h{two}() if {one} < 8 else C{index}\nC{index} = {index}\n");
        }
        let mut reached = BTreeSet::new();
        let mut pending = vec![used];
        while let Some(next) = pending.pop() {
            if next < 8 && reached.insert(next) {
                pending.extend([next + 2, next + 3]);
            }
        }
        let code = code(&text);
        for index in 0..8 {
            prop_assert_eq!(code.contains(&format!("def h{index}(")), reached.contains(&index), "{}", code);
            prop_assert_eq!(code.contains(&format!("C{index} = ")), reached.contains(&index), "{}", code);
        }
    }
}

#[test]
fn lines_of_what_travels_are_those_of_the_file() {
    let text = format!(
        "{HEAD}import os\n\n# why\ndef helper(x):\n    return (\n        x\n    )\n\nLIMIT = 3\n\n@Endpoint(name='e')\n@twice\ndef f(x):\n    return helper(x) + LIMIT\n"
    );
    let found = shipped(&text).unwrap();
    let shipped: Vec<&str> = found.code.lines().collect();
    let written: Vec<&str> = text.lines().collect();
    assert_eq!(found.lines.len(), 3);
    for lines in found.lines {
        for line in 0..lines.count {
            assert_eq!(shipped[lines.shipped - 1 + line], written[lines.source - 1 + line]);
        }
    }
}
