//! The small API server's desk for Leases: those who lead write over the version that they read, and nothing else.

use serde_json::Value;
use tokio::net::TcpStream;

use super::{FakeApi, Fault, status, whole};

/// A Lease alone: read, made, or written over the version that was read.
pub(super) async fn answer(
    api: &FakeApi,
    stream: &mut TcpStream,
    method: &str,
    target: &str,
    mut body: Value,
) -> std::io::Result<()> {
    let parts: Vec<&str> = target.split('/').collect();
    let (namespace, name) = (parts[5], parts.get(7).copied());
    let name = name.or(body["metadata"]["name"].as_str()).unwrap_or_default().to_owned();
    let fault = {
        let mut s = api.store();
        let rule = s.rules.iter_mut().find(|r| r.times > 0 && target.contains(r.path) && r.watch.is_none());
        rule.map(|r| {
            r.times -= 1;
            r.fault.clone()
        })
    };
    let collection = "/apis/coordination.k8s.io/v1/leases".to_owned();
    let now = api.store().objects.get(&collection).and_then(|m| m.get(&format!("{namespace}/{name}"))).cloned();
    let answer = match (method, now) {
        ("GET", Some(lease)) => lease,
        ("GET", None) | ("PUT", None) => return status(stream, 404, "leases not found", None).await,
        ("POST", Some(_)) => return status(stream, 409, "leases already exists", None).await,
        ("PUT", Some(old)) if old["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return status(stream, 409, why, None).await;
        }
        _ => {
            body["metadata"]["namespace"] = namespace.into();
            body["apiVersion"] = "coordination.k8s.io/v1".into();
            body["kind"] = "Lease".into();
            if !matches!(fault, Some(Fault::Status(..))) {
                api.put(body.clone());
            }
            body
        }
    };
    whole(stream, &answer, fault).await
}
