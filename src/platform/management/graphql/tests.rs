//! Tests of the GraphQL layer: queries as clients send them, on a platform without workers.

use rstest::rstest;

use super::*;
use crate::platform::management::ManagementOptions;
use crate::platform::options::PlatformOptions;
use crate::platform::{Event, Observer, Platform};
use crate::requirements::{DepsMode, Environments, HostPython, Progress, Reporter};

struct Silent;

impl Observer for Silent {
    fn event(&self, _event: Event) {}
}

impl Reporter for Silent {
    fn report(&self, _progress: &Progress) {}
}

struct Fixture {
    management: Arc<Management>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let host = HostPython {
            executable: "/usr/bin/python3".into(),
            version: (3, 11, 7),
            package: "/nowhere".into(),
            runtime_paths: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let environments = Environments::new(host.clone(), DepsMode::Auto, Arc::new(Silent));
        let platform = Platform::new(PlatformOptions::new(host), Arc::new(Silent));
        let options = ManagementOptions {
            environments,
            folder: folder.path().to_path_buf(),
            url: "http://platform".to_owned(),
        };
        Self { management: Management::open(platform, options).unwrap(), _folder: folder }
    }

    async fn ask_as(&self, account: &str, query: &str, variables: Value) -> Value {
        let Value::Object(variables) = variables else { panic!("variables are an object") };
        let session = Session { account: account.to_owned(), base: "http://platform".to_owned() };
        match plan::plan(query, None, &variables) {
            Ok(plan) => execute(&self.management, &session, &plan).await,
            Err(error) => json!({ "errors": [{ "message": error.to_string() }] }),
        }
    }

    async fn ask(&self, query: &str, variables: Value) -> Value {
        self.ask_as("one", query, variables).await
    }

    async fn data(&self, query: &str, variables: Value) -> Value {
        let answer = self.ask(query, variables).await;
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"].clone()
    }

    async fn error(&self, query: &str, variables: Value) -> String {
        let answer = self.ask(query, variables).await;
        answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

const SAVE_TEMPLATE: &str = r#"mutation { saveTemplate(input: { name: "t", imageName: "img:1",
    dockerArgs: "python -c \"print('\u00e9')\"", env: [{ key: "A", value: "1" }, { key: "B", value: "x\ny" }],
    containerDiskInGb: 5, volumeInGb: 0, isServerless: true }) { id dockerArgs env { key value } } }"#;

#[tokio::test]
async fn literals_of_every_kind_are_read() {
    let fixture = Fixture::new();
    let template = fixture.data(SAVE_TEMPLATE, json!({})).await["saveTemplate"].clone();
    assert_eq!(template["dockerArgs"], "python -c \"print('é')\"");
    assert_eq!(template["env"], json!([{ "key": "A", "value": "1" }, { "key": "B", "value": "x\ny" }]));
    let id = template["id"].as_str().unwrap();
    let save = format!(
        r#"mutation {{ saveEndpoint(input: {{ name: "e", templateId: "{id}", gpuIds: "AMPERE_16",
            flashBootType: FLASHBOOT, scalerType: "REQUEST_COUNT", scalerValue: 2, workersMax: 2 }})
            {{ id type scalerType scalerValue workersMax workersMin flashBootType env {{ key }} }} }}"#
    );
    let endpoint = fixture.data(&save, json!({})).await["saveEndpoint"].clone();
    assert_eq!(endpoint["id"].as_str().unwrap().len(), 14);
    assert_eq!(
        endpoint,
        json!({
            "id": endpoint["id"], "type": "QB", "scalerType": "REQUEST_COUNT", "scalerValue": 2,
            "workersMax": 2, "workersMin": 0, "flashBootType": "FLASHBOOT", "env": [{ "key": "A" }, { "key": "B" }],
        })
    );
}

const SAVE: &str = "mutation saveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) {
    id templateId workersMax idleTimeout type aiKey version } }";

#[tokio::test]
async fn endpoint_is_made_replaced_and_deleted() {
    let fixture = Fixture::new();
    let template = json!({ "name": "t", "imageName": "img:1", "env": [], "config": {}, "ports": "" });
    let input =
        json!({ "name": "e", "template": template, "workersMax": 1, "idleTimeout": 60, "type": "QB" });
    let made = fixture.data(SAVE, json!({ "input": input })).await["saveEndpoint"].clone();
    assert_eq!((&made["workersMax"], &made["idleTimeout"]), (&json!(1), &json!(60)));
    assert!(made["aiKey"].as_str().unwrap().len() > 30);
    // What is not named falls back to its default; ID, key and template stay.
    let input = json!({ "id": made["id"], "name": "e", "templateId": made["templateId"], "workersMax": 2 });
    let replaced = fixture.data(SAVE, json!({ "input": input })).await["saveEndpoint"].clone();
    assert_eq!((&replaced["workersMax"], &replaced["idleTimeout"]), (&json!(2), &json!(5)));
    for same in ["id", "templateId", "aiKey", "type"] {
        assert_eq!(replaced[same], made[same], "{same}");
    }
    assert_eq!(replaced["version"], 2);
    let delete = "mutation deleteEndpoint($id: String!) { deleteEndpoint(id: $id) }";
    let gone = fixture.data(delete, json!({ "id": made["id"] })).await;
    assert_eq!(gone, json!({ "deleteEndpoint": null }));
    let exists = "query q($id: String!) { myself { endpoint(id: $id) { id } endpoints { id } } }";
    let there = fixture.data(exists, json!({ "id": made["id"] })).await;
    assert_eq!(there["myself"], json!({ "endpoint": null, "endpoints": [] }));
    assert!(!fixture.management.platform.has(made["id"].as_str().unwrap()));
}

#[tokio::test]
async fn aliases_fragments_and_directives_shape_the_answer() {
    let fixture = Fixture::new();
    let query = "query Q($no: Boolean = false) {
        me: myself { ...Me again: id email @include(if: $no) __typename ... on User { pubKey } }
        gpuTypes(input: { ids: [\"NVIDIA A40\"] }) { id lowestPrice(input: { gpuCount: 2 }) { stockStatus } }
    } fragment Me on User { id endpoints { id } }";
    let data = fixture.data(query, json!({})).await;
    let me = json!({ "id": "one", "endpoints": [], "again": "one", "__typename": "User", "pubKey": "" });
    assert_eq!(data["me"], me);
    assert_eq!(data["gpuTypes"], json!([{ "id": "NVIDIA A40", "lowestPrice": { "stockStatus": "High" } }]));
}

#[rstest]
#[case("{ nothing { id } }", json!({}), "Cannot query field \"nothing\" on type \"Query\".")]
#[case("{ myself { nothing } }", json!({}), "Cannot query field \"nothing\" on type \"User\".")]
#[case("{ myself }", json!({}), "must have a selection of subfields")]
#[case("{ myself { id { x } } }", json!({}), "must not have a selection")]
#[case("{ podTemplate(id: \"x\", other: 1) { id } }", json!({}), "Unknown argument \"other\"")]
#[case("{ podTemplate { id } }", json!({}), "argument \"id\" of type \"String!\" is required")]
#[case("{ podTemplate(id: 5) { id } }", json!({}), "`id` must be of type `String`, not a number")]
#[case(
    "mutation { saveEndpoint(input: { nmae: \"e\" }) { id } }", json!({}),
    "Field \"nmae\" is not defined by type \"EndpointInput\"."
)]
#[case("mutation { saveEndpoint(input: { flashBootType: FAST }) { id } }", json!({}), "\"FAST\" is not a value")]
#[case("query q($id: String!) { podTemplate(id: $id) { id } }", json!({}), "Variable \"$id\" of required type")]
#[case("{ podTemplate(id: $id) { id } }", json!({}), "Variable \"$id\" is not defined")]
#[case("{ myself { ...F } } fragment F on User { id ...F }", json!({}), "within itself")]
#[case("{ myself { ...F } }", json!({}), "Unknown fragment \"F\"")]
#[case("subscription { myself { id } }", json!({}), "Subscriptions")]
#[case("query { a: myself { id } ", json!({}), "Syntax Error")]
#[case("query A { myself { id } } query B { myself { id } }", json!({}), "operation name")]
#[case("{ flashAppByName(flashAppName: \"x\") { id } }", json!({}), "app not found")]
#[case("{ pod(input: { podId: \"x\" }) { id } }", json!({}), "pods cannot run on this machine")]
#[case("mutation { saveEndpoint(input: { name: \"e\" }) { id } }", json!({}), "needs a template")]
#[case(
    "mutation { saveEndpoint(input: { name: \"e\", templateId: \"none\" }) { id } }", json!({}),
    "template `none` not found"
)]
#[tokio::test]
async fn mistake_is_named(#[case] query: &str, #[case] variables: Value, #[case] expected: &str) {
    let error = Fixture::new().error(query, variables).await;
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn mutation_with_a_mistake_changes_nothing() {
    let fixture = Fixture::new();
    let query = "mutation { createFlashApp(input: { name: \"a\" }) { id } deleteFlashApp { id } }";
    fixture.error(query, json!({})).await;
    let apps = fixture.data("{ myself { flashApps { id } } }", json!({})).await;
    assert_eq!(apps["myself"]["flashApps"], json!([]));
}

#[tokio::test]
async fn fragments_that_multiply_are_refused() {
    let fragments = (0..20).map(|level| {
        let next = level + 1;
        format!("fragment F{level} on Query {{ ...F{next} ... on Query {{ ...F{next} }} }}")
    });
    let last = "fragment F20 on Query { __typename @skip(if: true) }".to_owned();
    let parts: Vec<String> =
        std::iter::once("query { ...F0 }".to_owned()).chain(fragments).chain([last]).collect();
    let query = parts.join(" ");
    let error = Fixture::new().error(&query, json!({})).await;
    assert!(error.contains("more than"), "{error}");
}

#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let fixture = Fixture::new();
    let template = fixture.data(SAVE_TEMPLATE, json!({})).await["saveTemplate"]["id"].clone();
    let query = "query q($id: String!) { podTemplate(id: $id) { id } myself { podTemplates { id } } }";
    let variables = json!({ "id": template });
    let theirs = fixture.ask_as("two", query, variables.clone()).await;
    assert_eq!(theirs["data"], json!({ "podTemplate": null, "myself": { "podTemplates": [] } }));
    let ours = fixture.ask(query, variables).await;
    assert_eq!(ours["data"]["podTemplate"]["id"], template);
    let input = json!({ "name": "e", "templateId": template });
    let stolen = fixture.ask_as("two", SAVE, json!({ "input": input })).await;
    assert!(stolen["errors"][0]["message"].as_str().unwrap().contains("not found"), "{stolen}");
}
