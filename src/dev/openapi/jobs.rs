//! Runpod's own API below `/v2`, once for all queue-based endpoints.

use serde_json::{Value, json};

/// Tag of these operations.
pub(super) const TAG: &str = "jobs";

/// Path, method and operation of each call; `endpoints` are the names that can be called.
pub(super) fn operations(endpoints: &[&str]) -> Vec<(&'static str, &'static str, Value)> {
    let operation = |id: &str, summary: &str, has_job: bool, has_body: bool| {
        let mut parameters = vec![json!({
            "name": "endpoint",
            "in": "path",
            "required": true,
            "schema": { "type": "string", "enum": endpoints },
        })];
        if has_job {
            parameters.push(json!({
                "name": "id",
                "in": "path",
                "required": true,
                "schema": { "type": "string" },
                "description": "Job ID, as `run` answers it",
            }));
        }
        let mut operation = json!({
            "tags": [TAG],
            "summary": summary,
            "operationId": id,
            "parameters": parameters,
            "responses": { "200": {
                "description": "Successful Response",
                "content": { "application/json": { "schema": { "type": "object" } } },
            } },
        });
        if has_body {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": {
                    "type": "object",
                    "properties": {
                        "input": { "description": "The function's arguments by name" },
                        "webhook": { "type": "string", "format": "uri" },
                        "policy": {
                            "type": "object",
                            "properties": {
                                "executionTimeout": { "type": "integer", "description": "Milliseconds" },
                                "ttl": { "type": "integer", "description": "Milliseconds" },
                                "lowPriority": { "type": "boolean" },
                            },
                        },
                    },
                    "required": ["input"],
                } } },
            });
        }
        operation
    };
    vec![
        ("/v2/{endpoint}/run", "POST", operation("v2_run", "Put a job in the queue", false, true)),
        ("/v2/{endpoint}/runsync", "POST", operation("v2_runsync", "Run a job and wait for it", false, true)),
        ("/v2/{endpoint}/status/{id}", "GET", operation("v2_status", "How far a job is", true, false)),
        ("/v2/{endpoint}/stream/{id}", "GET", operation("v2_stream", "What a job has yielded", true, false)),
        ("/v2/{endpoint}/cancel/{id}", "POST", operation("v2_cancel", "Cancel a job", true, false)),
        ("/v2/{endpoint}/health", "GET", operation("v2_health", "Jobs and workers", false, false)),
    ]
}
