//! A client that answers challenges, and keeps tokens by repository and method as registry clients do.

use crate::harness::{Answer, Http, Region};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// How the client proves itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// With a token of the scope that the challenge names.
    Bearer,
    /// With the password, as to ECR.
    Basic,
}

impl Login {
    /// Whether the region is addressed by a host name of the ECR form.
    pub fn ecr_host(self) -> bool {
        self == Self::Basic
    }
}

pub struct Client<'a> {
    http: Http,
    host: String,
    basic: String,
    login: Login,
    /// By repository and kind of method.
    kept: Mutex<BTreeMap<(String, &'static str), String>>,
    _region: &'a Region,
}

impl<'a> Client<'a> {
    pub fn new(region: &'a Region, login: Login, password: &str) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let plain = region.base.trim_start_matches("http://").to_owned();
        let host =
            if login.ecr_host() { format!("{}.dkr.ecr.us-east-1.registry.test", region.account("dev")) } else { plain };
        let basic = format!("Basic {}", STANDARD.encode(format!("AWS:{password}")));
        Self { http: Http::new(&region.base, None), host, basic, login, kept: Mutex::default(), _region: region }
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let key = (repository(path), kind(&method));
        let kept = self.kept.lock().unwrap().get(&key).cloned();
        let first = self.send(&method, path, headers, &body, kept.as_deref()).await;
        if first.status != StatusCode::UNAUTHORIZED {
            return first;
        }
        let proof = self.answer(first.header("www-authenticate")).await;
        self.kept.lock().unwrap().insert(key, proof.clone());
        self.send(&method, path, headers, &body, Some(&proof)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], "").await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.call(Method::HEAD, path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], "").await
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Bytes,
        proof: Option<&str>,
    ) -> Answer {
        let mut all = vec![("host", self.host.as_str())];
        all.extend(proof.map(|proof| ("authorization", proof)));
        all.extend(headers);
        self.http.call(method.clone(), path, &all, body.clone()).await
    }

    /// What a challenge asks for.
    async fn answer(&self, challenge: &str) -> String {
        match self.login {
            Login::Basic => {
                let expected = format!("Basic realm=\"https://{}/\",service=\"ecr.amazonaws.com\"", self.host);
                assert_eq!(challenge, expected);
                self.basic.clone()
            }
            Login::Bearer => {
                let part = |name: &str| {
                    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
                    rest.split_once('"').map(|(value, _)| value.to_owned())
                };
                let realm = part("realm").unwrap();
                let scope =
                    part("scope").map_or_else(String::new, |scope| format!("&scope={}", scope.replace(' ', "%20")));
                let path = format!("{realm}?service={}{scope}", part("service").unwrap());
                let got = self.send(&Method::GET, &path, &[], &Bytes::new(), Some(&self.basic)).await;
                let document: serde_json::Value = serde_json::from_slice(&got.body).expect("a token document");
                format!("Bearer {}", document["token"].as_str().unwrap())
            }
        }
    }
}

fn repository(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let ends = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    let end = ends.iter().filter_map(|end| path.find(end)).min().unwrap_or(path.len());
    path[..end].to_owned()
}

fn kind(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "pull",
        Method::DELETE => "delete",
        _ => "push",
    }
}
