//! The description of the routes: what the routes say themselves, the answers' shapes, and what holds for all.
//!
//! The shapes of [`tapio_core`] and [`tapio_engine`] stand in `openapi/schemas.json`, since those crates know nothing of
//! OpenAPI; the contract test holds every response to them, and allows no field that is not described.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

/// Shapes of other crates' types.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// Refusals that any route may give.
const ANYWHERE: [(&str, &str); 2] = [
    ("403", "Asked under a name that is not ours, or by a foreign page"),
    ("500", "A defect; details stand in the log"),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tapio",
        description = "Why it broke, what a change will hit, what happened when. The objects are those that `tapio -o json` prints. Errors are application/problem+json (RFC 9457). Nothing here changes a cluster.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "answers", description = "Questions about the whole, or about one object"),
        (name = "incidents", description = "What is or was wrong"),
        (name = "objects", description = "What is known"),
        (name = "graph", description = "Cypher"),
        (name = "manual", description = "What can be detected"),
        (name = "operations", description = "Health, metrics, log"),
    ),
)]
struct Head;

/// What stands above the routes.
pub(crate) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The whole document.
pub(crate) fn complete(described: utoipa::openapi::OpenApi) -> Value {
    let mut doc = serde_json::to_value(described).unwrap_or_default();
    let shapes: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let schemas = &mut doc["components"]["schemas"];
    for (name, schema) in shapes {
        schemas[name] = schema;
    }
    // What a page lists is one of those shapes, which its derived schema cannot name.
    for (page, list, item) in [
        ("IncidentPage", "incidents", "Incident"),
        ("ObjectPage", "objects", "FoundObject"),
        ("Findings", "findings", "PatternFinding"),
        ("Problem", "near", "ObjectRef"),
    ] {
        schemas[page]["properties"][list]["items"] = json!({"$ref": format!("#/components/schemas/{item}")});
    }
    if let Some(all) = schemas.as_object_mut() {
        all.values_mut().for_each(close);
    }
    doc["components"]["securitySchemes"] = json!({"bearer": {
        "type": "http", "scheme": "bearer", "description": "The token of the server's token file, where it has one"
    }});
    doc["security"] = json!([{}, {"bearer": []}]);
    doc["servers"] = json!([{"url": "/", "description": "This server"}]);
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    for path in doc["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in path.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let open = operation.get("security").is_some();
            let asks = operation.get("parameters").is_some();
            let probe = operation["operationId"] == "metrics" || open;
            let Some(responses) = operation["responses"].as_object_mut() else { continue };
            let mut add = |status: &str, description: &str| {
                let response = json!({"description": description, "content": problem});
                responses.entry(status).or_insert(response);
            };
            ANYWHERE.into_iter().for_each(|(status, description)| add(status, description));
            if asks {
                add("400", "A parameter cannot be read");
            }
            if !open {
                add("401", "A token is needed");
            }
            if !probe {
                add("503", "Not at the moment; Retry-After says when");
            }
        }
    }
    doc
}

/// Objects hold what is described and nothing else.
fn close(schema: &mut Value) {
    if let Some(o) = schema.as_object_mut() {
        if o.contains_key("properties") {
            o.entry("additionalProperties").or_insert(Value::Bool(false));
        }
        o.values_mut().for_each(close);
    } else if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(close);
    }
}
