//! What each request answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use super::fake::{Server, Workers, start};
use crate::dev::table::Found;
use crate::endpoint::Method;
use crate::project::samples::{balanced, class, file, project, queue, with_error};
use crate::wire::message::{CallableDescription, ReadyHead};

async fn shop() -> Server {
    let files = vec![
        file(
            "api.py",
            vec![balanced(
                "shop-api",
                &[
                    (Method::Get, "/health", "health", &[]),
                    (Method::Get, "/items/{item}", "read_item", &["item", "verbose?"]),
                    (Method::Post, "/items/{item}", "write_item", &["item", "price"]),
                    (Method::Get, "/files/{rest:path}", "read_file", &["rest"]),
                    (Method::Get, "/boom", "boom", &[]),
                    (Method::Get, "/endless", "endless", &[]),
                ],
            )],
        ),
        file("gpu_worker.py", vec![queue("gpu", "process_data", &["input"])]),
        file(
            "many.py",
            vec![
                queue("one", "first", &["a", "b?"]),
                queue("two", "second", &[]),
                class("model", "Model", &["predict", "first"]),
            ],
        ),
        file("optional.py", vec![queue("optional", "maybe", &["a?"])]),
    ];
    start(project(files), Workers::new(Vec::new(), &[])).await
}

#[tokio::test]
async fn queue_route_runs_a_job_and_answers_its_output() {
    let server = shop().await;
    let answer = server.post("/gpu_worker/runsync", r#"{"input": {"your": "data"}, "webhook": "x"}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"id": "sync-1", "status": "COMPLETED", "output": {
            "endpoint": "gpu", "callable": "process_data", "input": r#"{"your": "data"}"#,
        }})
    );
    let lines = server.lines.clone();
    server.stop().await;
    let lines = lines.0.lock().expect("lock");
    assert!(lines[0].contains("POST /gpu_worker/runsync  200 "), "{lines:?}");
}

#[tokio::test]
async fn queue_routes_of_several_callables_have_their_names() {
    let server = shop().await;
    let ran = |answer: serde_json::Value| answer["output"]["callable"].clone();
    let body = r#"{"input": {"a": 1}}"#;
    assert_eq!(ran(server.post("/many/predict/runsync", body).await.json()), "Model.predict");
    assert_eq!(ran(server.post("/many/second/runsync", "").await.json()), "second");
    // A function and a method of one name: the function comes first, and that is said.
    assert_eq!(ran(server.post("/many/first/runsync", body).await.json()), "first");
    assert_eq!(server.post("/many/runsync", body).await.status, 404);
    let notes = server.app.with_table(|table| table.notes.clone());
    assert_eq!(
        notes,
        [
            "`POST /many/first/runsync` runs `first`, which comes first; `Model.first` answers at `/v2/model/runsync` only"
        ]
    );
}

#[tokio::test]
async fn queue_failure_is_failed_with_type_message_and_traceback() {
    let server = shop().await;
    let answer = server.post("/gpu_worker/runsync", r#"{"input": {"raise": 1}}"#).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["status"], "FAILED");
    assert_eq!(body["error"], "ValueError: boom");
    assert_eq!(body["output"]["error_type"], "ValueError");
    assert_eq!(body["output"]["error_message"], "boom");
    assert!(body["output"]["error_traceback"].as_str().is_some_and(|text| text.contains("app.py")));
}

#[tokio::test]
async fn queue_input_that_the_worker_refuses_is_422() {
    let server = shop().await;
    let answer = server.post("/gpu_worker/runsync", r#"{"input": {"wrong": 1}}"#).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "input", "a"]));
    let answer = server.post("/gpu_worker/runsync", r#"{"input": {"refuse": 1}}"#).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["detail"], "EnvironmentError: cannot install numpy");
}

#[tokio::test]
async fn queue_body_without_an_input_is_422_in_fastapi_shape() {
    let server = shop().await;
    let detail = |answer: super::fake::Answer| {
        assert_eq!(answer.status, 422, "{answer:?}");
        answer.json()["detail"].clone()
    };
    let missing = detail(server.post("/gpu_worker/runsync", "").await);
    assert_eq!(
        missing,
        json!([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": null}])
    );
    let missing = detail(server.post("/gpu_worker/runsync", "{}").await);
    assert_eq!(
        missing,
        json!([{"type": "missing", "loc": ["body", "input"], "msg": "Field required", "input": {}}])
    );
    let invalid = detail(server.post("/gpu_worker/runsync", "{\n \"ä\": xx}").await);
    assert_eq!(invalid[0]["type"], "json_invalid");
    assert_eq!(invalid[0]["loc"], json!(["body", 8]));
    let list = detail(server.post("/gpu_worker/runsync", "[1]").await);
    assert_eq!((&list[0]["type"], &list[0]["loc"]), (&json!("model_attributes_type"), &json!(["body"])));
    let null = detail(server.post("/gpu_worker/runsync", r#"{"input": null}"#).await);
    assert_eq!(
        (&null[0]["type"], &null[0]["loc"]),
        (&json!("model_attributes_type"), &json!(["body", "input"]))
    );
    let empty = detail(server.post("/optional/runsync", r#"{"input": {}}"#).await);
    assert!(empty.as_str().is_some_and(|text| text.contains("__empty")));
    assert_eq!(server.post("/optional/runsync", r#"{"input": {"__empty": true}}"#).await.status, 200);
    assert_eq!(server.post("/many/second/runsync", "not json").await.status, 200);
}

#[tokio::test]
async fn balanced_route_forwards_the_request_as_it_came() {
    let server = shop().await;
    let answer = server.post("/api/items/a%20b?x=1&x=2", "price=7").await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json(),
        json!({
            "endpoint": "shop-api", "method": "POST", "path": "/items/a%20b", "query": "x=1&x=2",
            "root_path": "/api", "body": "price=7", "content_type": "application/x-www-form-urlencoded",
        })
    );
    let answer = server.send("GET", "/items/1", &[("host", "shop-api.localhost:8888")], "").await;
    assert_eq!(
        (answer.json()["path"].clone(), answer.json()["root_path"].clone()),
        (json!("/items/1"), json!(""))
    );
    let again = server.send("GET", "/items/1", &[("host", "shop-api.api.localhost:8888")], "").await;
    assert_eq!(again.status, answer.status);
    let answer = server.send("GET", "/ping", &[("host", "Shop-API.localhost")], "").await;
    assert_eq!(answer.json(), json!({"status": "healthy"}));
    assert_eq!(server.send("POST", "/x", &[("host", "gpu.localhost")], "").await.status, 404);
    assert_eq!(server.get("/api/files/a/b/c.txt").await.json()["path"], "/files/a/b/c.txt");
}

#[tokio::test]
async fn balanced_failure_is_500_with_the_traceback() {
    let server = shop().await;
    let answer = server.get("/api/boom").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["detail"], "ValueError: boom");
    assert!(answer.json()["error_traceback"].as_str().is_some_and(|text| text.contains("line 3")));
}

#[tokio::test]
async fn client_that_leaves_ends_the_stream() {
    let server = shop().await;
    let (gone, told) = oneshot::channel();
    *server.backend.gone.lock().expect("lock") = Some(gone);
    let mut stream = server.open("GET", "/api/endless", &[], "").await;
    let mut some = [0u8; 64];
    assert!(stream.read(&mut some).await.expect("read") > 0);
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("in time").expect("told");
}

#[tokio::test]
async fn wrong_paths_and_methods_answer_as_fastapi() {
    let server = shop().await;
    let answer = server.get("/nope").await;
    assert_eq!((answer.status, answer.json()), (404, json!({"detail": "Not Found"})));
    let answer = server.get("/gpu_worker/runsync").await;
    assert_eq!((answer.status, answer.json()), (405, json!({"detail": "Method Not Allowed"})));
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = server.send("DELETE", "/api/items/1", &[], "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST")));
    assert_eq!(server.post("/docs", "{}").await.status, 405);
    let answer = server.get("/api/health/?a=1").await;
    assert_eq!((answer.status, answer.header("location")), (307, Some("/api/health?a=1")));
}

#[tokio::test]
async fn own_routes_answer_and_the_platform_is_mounted() {
    let server = shop().await;
    assert_eq!(server.get("/").await.json(), json!({"message": "Flash Dev Server", "docs": "/docs"}));
    assert_eq!(server.get("/ping").await.json(), json!({"status": "healthy"}));
    assert_eq!(server.get("/redoc").await.header("location"), Some("/docs"));
    assert_eq!(server.get("/v2/gpu/health").await.body, b"from the platform");
    let page = server.get("/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(!String::from_utf8_lossy(&page.body).contains("https://"), "nothing comes from elsewhere");
    let plain = server.get("/docs/swagger-ui.css").await;
    assert!(String::from_utf8_lossy(&plain.body).contains(".swagger-ui"));
    let packed =
        server.send("GET", "/docs/swagger-ui-bundle.js", &[("accept-encoding", "gzip, br")], "").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.body[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn user_route_wins_over_an_own_one() {
    let files =
        vec![file("docs.py", vec![balanced("docs", &[(Method::Get, "/swagger-ui.css", "style", &[])])])];
    let server = start(project(files), Workers::new(Vec::new(), &[])).await;
    assert_eq!(server.get("/docs/swagger-ui.css").await.json()["endpoint"], "docs");
    assert_eq!(server.get("/docs").await.status, 200);
}

#[tokio::test]
async fn foreign_pages_are_refused() {
    let server = shop().await;
    assert_eq!(server.send("GET", "/", &[("host", "evil.example")], "").await.status, 403);
    assert_eq!(
        server.send("POST", "/gpu_worker/runsync", &[("origin", "https://evil.example")], "{}").await.status,
        403
    );
    assert_eq!(server.send("GET", "/ping", &[("host", "evil.example")], "").await.status, 200);
}

#[tokio::test]
async fn broken_file_answers_with_its_error() {
    let broken = with_error(project(vec![file("ok.py", vec![queue("ok", "run", &["a"])])]), "sub/broken.py");
    let server = start(project(Vec::new()), Workers::new(Vec::new(), &[])).await;
    server
        .app
        .show(Arc::new(broken), vec!["error: invalid syntax\n --> sub/broken.py:1:1 <here>".to_owned()]);
    let answer = server.post("/sub/broken/runsync", "{}").await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["detail"].as_str().is_some_and(|text| text.contains("sub/broken.py:1:1")));
    let page = String::from_utf8_lossy(&server.get("/docs").await.body).into_owned();
    assert!(page.contains("sub/broken.py:1:1 &lt;here&gt;"), "{page}");
    assert_eq!(server.post("/ok/runsync", r#"{"input": {"a": 1}}"#).await.status, 200);
}

#[tokio::test]
async fn openapi_describes_routes_from_the_scan() {
    let server = shop().await;
    let document = server.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let job = &document["paths"]["/gpu_worker/runsync"]["post"];
    assert_eq!(job["tags"], json!(["gpu"]));
    assert_eq!(job["summary"], "Runs process_data.");
    assert!(
        job["description"]
            .as_str()
            .is_some_and(|text| text.contains("And more.") && text.contains("CPU cpu3c-1-2"))
    );
    let body = &job["requestBody"]["content"]["application/json"];
    assert_eq!(body["example"], json!({"input": {"input": 1}}));
    assert_eq!(body["schema"]["properties"]["input"]["$ref"], "#/components/schemas/gpu_process_data_Input");
    assert_eq!(
        document["components"]["schemas"]["gpu_process_data_Input"]["properties"]["input"],
        json!({"type": "integer"})
    );
    let read = &document["paths"]["/api/items/{item}"]["get"];
    let names: Vec<_> = read["parameters"]
        .as_array()
        .expect("list")
        .iter()
        .map(|each| (&each["name"], &each["in"]))
        .collect();
    assert_eq!(names, [(&json!("item"), &json!("path")), (&json!("verbose"), &json!("query"))]);
    assert_eq!(document["paths"]["/api/files/{rest}"]["get"]["operationId"], "shop_api_read_file");
    let ids: Vec<_> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().expect("item").values())
        .map(|operation| operation["operationId"].as_str().expect("an ID").to_owned())
        .collect();
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}

#[tokio::test]
async fn openapi_takes_the_workers_schemas_once_there_are_some() {
    let model = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
    let gpu = ReadyHead {
        pid: 1,
        python: "3.11.2".to_owned(),
        callables: vec![CallableDescription {
            name: "process_data".to_owned(),
            input_schema: json!({
                "type": "object", "properties": {"input": {"$ref": "#/$defs/Order"}}, "required": ["input"],
                "$defs": {"Order": model},
            }),
            output_schema: None,
            doc: None,
            is_generator: false,
        }],
        openapi: None,
        load_ms: 1,
    };
    let mut api = gpu.clone();
    api.callables = Vec::new();
    api.openapi = Some(json!({
        "paths": {"/items/{item}": {"post": {"requestBody": {"content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/Order"},
        }}}, "responses": {}}}},
        "components": {"schemas": {"Order": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}},
    }));
    let mut files = vec![
        file("api.py", vec![balanced("api", &[(Method::Post, "/items/{item}", "write", &["item"])])]),
        file("gpu.py", vec![queue("gpu", "process_data", &["input"])]),
    ];
    // One worker is there; the other is asked for because the source does not explain its input.
    files[1].endpoints[0].callables[0].input_schema["properties"]["input"] = json!({});
    let server = start(project(files), Workers::new(vec![("gpu", gpu), ("api", api)], &["api"])).await;
    let document = server.get("/openapi.json").await.json();
    let body = &document["paths"]["/gpu/runsync"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["example"], json!({"input": {"input": {"text": "text"}}}));
    // Two models of one name stay two.
    let schemas = &document["components"]["schemas"];
    assert!(schemas["Order"]["properties"]["n"].is_object());
    assert!(schemas["gpu_process_data_Order"]["properties"]["text"].is_object());
    let body = &document["paths"]["/api/items/{item}"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["example"], json!({"n": 1}));
}

#[tokio::test]
async fn port_that_is_taken_leads_to_the_next_one() {
    let server = shop().await;
    let next = crate::server::listen::bind("127.0.0.1", server.port).await.expect("another port");
    assert!(next.port > server.port);
    assert!(!next.is_public());
}

#[tokio::test]
async fn route_that_is_declared_first_wins() {
    let mut api = balanced(
        "api",
        &[(Method::Get, "/items/all", "z_all", &[]), (Method::Get, "/items/{item}", "a_one", &["item"])],
    );
    // As the scan lists them: by name.
    api.callables.reverse();
    let server = start(project(vec![file("api.py", vec![api])]), Workers::new(Vec::new(), &[])).await;
    let function = |path: &str| {
        server.app.with_table(|table| match table.find(&http::Method::GET, path) {
            Found::Route(route) => route.function.clone(),
            other => format!("{other:?}"),
        })
    };
    assert_eq!(function("/api/items/all"), "z_all");
    assert_eq!(function("/api/items/7"), "a_one");
}
