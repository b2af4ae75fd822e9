//! How fast requests are judged: 50 statements of identity policies, parsed before or on the way, on one core.
//!
//! The request fits the last statement only, so all are looked at; every third has a condition. Beside it the crate
//! `iam-rs` with the same policies; it knows identity policies alone and no reasons, and must give the same answer.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use iam_rs::{Arn, Context as TheirContext, IAMPolicy, IAMRequest, PolicyEvaluator, Principal, PrincipalId};
use serde_json::{Value, json};
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;
use transship::authz::context::Context;
use transship::authz::eval::{Attached, Caller, Policies, Request, evaluate};
use transship::authz::policy::{Document, Kind};
use transship::names::AccountId;

/// Ten statements each, as many as the size of an identity policy leaves room for.
const DOCUMENTS: usize = 5;
const STATEMENTS: usize = 10;
const PASSES: usize = 21;
const ROUNDS: usize = 2_000;

const USER: &str = "arn:aws:iam::111122223333:user/alice";
const ACTION: &str = "ecr:BatchGetImage";
const REPOSITORY: &str = "arn:aws:ecr:us-east-1:111122223333:repository/team-49/app/service";

fn main() -> Result<(), Box<dyn Error>> {
    let texts: Vec<String> = (0..DOCUMENTS).map(document).collect();
    println!("{} statements, {} bytes", DOCUMENTS * STATEMENTS, texts.iter().map(String::len).sum::<usize>());
    ours(&texts)?;
    theirs(&texts)?;
    hostile()
}

fn document(index: usize) -> String {
    let statements: Vec<Value> = (index * STATEMENTS..(index + 1) * STATEMENTS).map(statement).collect();
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn statement(n: usize) -> Value {
    let mut statement = json!({
        "Effect": "Allow",
        "Action": ["ecr:BatchGet*", "ecr:GetDownloadUrlForLayer", "ecr:PutImage"],
        "Resource": format!("arn:aws:ecr:*:111122223333:repository/team-{n}/app/*"),
    });
    if n.is_multiple_of(3) {
        statement["Condition"] = json!({"StringEquals": {"aws:username": ["alice", "bob"]}});
    }
    statement
}

fn ours(texts: &[String]) -> Result<(), Box<dyn Error>> {
    let account = AccountId::parse("111122223333")?;
    let mut context = Context::new();
    context.set("aws:username", "alice").set("aws:PrincipalArn", USER).set("aws:SecureTransport", "true");
    let request = Request {
        caller: Caller::User { account, arn: USER, unique_id: "AIDA1" },
        action: ACTION,
        resource: REPOSITORY,
        resource_account: account,
        context: &context,
    };
    let judge = |documents: &[Document]| {
        let identity: Vec<_> = documents.iter().map(|document| Attached { id: "p", document }).collect();
        evaluate(&request, &Policies { identity: &identity, ..Policies::default() }).is_allowed()
    };
    let parse = || texts.iter().map(|text| Document::parse(Kind::Identity, text)).collect::<Result<Vec<_>, _>>();
    let documents = parse()?;
    measure("evaluate, parsed", || Ok(judge(black_box(&documents))))?;
    measure("parse and evaluate", || Ok(judge(&parse()?)))
}

fn theirs(texts: &[String]) -> Result<(), Box<dyn Error>> {
    let parse = || texts.iter().map(|text| IAMPolicy::from_json(text)).collect::<Result<Vec<_>, _>>();
    let resource = Arn::parse(REPOSITORY).map_err(|error| error.to_string())?;
    let context = TheirContext::new()
        .with_string("aws:username", "alice")
        .with_string("aws:PrincipalArn", USER)
        .with_string("aws:SecureTransport", "true");
    let caller = Principal::Aws(PrincipalId::String(USER.to_owned()));
    let request = IAMRequest::new_with_context(caller, ACTION, resource, context);
    let judge = |evaluator: &PolicyEvaluator| {
        let result = evaluator.evaluate(black_box(&request)).map_err(|error| error.to_string())?;
        Ok(result.decision == iam_rs::Decision::Allow)
    };
    let evaluator = PolicyEvaluator::with_policies(parse()?);
    measure("iam-rs: evaluate, parsed", || judge(&evaluator))?;
    measure("iam-rs: parse and evaluate", || judge(&PolicyEvaluator::with_policies(parse()?)))
}

/// The worst that fits into a policy: stars that all but fit a long resource.
fn hostile() -> Result<(), Box<dyn Error>> {
    let account = AccountId::parse("111122223333")?;
    let context = Context::new();
    let name = "a".repeat(1_024);
    let resource = format!("arn:aws:ecr:us-east-1:111122223333:repository/{name}");
    let pattern = format!("arn:aws:ecr:*:*:repository/*{}b", "a".repeat(512));
    let policy = json!({"Statement": [
        {"Effect": "Deny", "Action": "*", "Resource": pattern},
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
    ]});
    let document = Document::parse(Kind::Identity, &policy.to_string())?;
    let request = Request {
        caller: Caller::User { account, arn: USER, unique_id: "AIDA1" },
        action: ACTION,
        resource: &resource,
        resource_account: account,
        context: &context,
    };
    let attached = [Attached { id: "p", document: &document }];
    let policies = Policies { identity: &attached, ..Policies::default() };
    measure("a hostile pattern", || Ok(evaluate(black_box(&request), &policies).is_allowed()))
}

/// Times rounds of a judgement that must allow.
fn measure(what: &str, mut judge: impl FnMut() -> Result<bool, Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            if !judge()? {
                return Err(format!("{what}: the request is not allowed").into());
            }
        }
        times.push(start.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64);
    }
    times.sort_by(f64::total_cmp);
    println!("{what:<28} best {:>8.2} us   median {:>8.2} us", times[0], times[PASSES / 2]);
    Ok(())
}
