"""boto3 against the AWS wire, and requests that no SDK makes: usage aws_wire.py ENDPOINT ACCOUNT."""

import http.client
import json
import sys
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.exceptions
import botocore.session

endpoint, account = sys.argv[1:]
address = urllib.parse.urlsplit(endpoint).netloc


def check(held, what):
    if not held:
        sys.exit(f"aws_wire.py: {what}")


def code_of(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


def typed_errors_and_pages():
    ecr = boto3.client("ecr")
    for at in range(5):
        ecr.create_repository(repositoryName=f"page/{at}")
    pages = list(ecr.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 2}))
    names = [repository["repositoryName"] for page in pages for repository in page["repositories"]]
    check([n for n in names if n.startswith("page/")] == [f"page/{at}" for at in range(5)], f"the pages have {names}")
    check(len(pages) >= 3, "five repositories in pages of two are three pages")
    made = ecr.describe_repositories(repositoryNames=["page/1"])["repositories"][0]
    check(made["repositoryArn"] == f"arn:aws:ecr:us-east-1:{account}:repository/page/1", made)
    check(made["createdAt"].year >= 2026, made)
    try:
        ecr.describe_repositories(repositoryNames=["none"])
    except ecr.exceptions.RepositoryNotFoundException as error:
        check(error.response["ResponseMetadata"]["RequestId"], "an error has a request id")
    else:
        sys.exit("aws_wire.py: a missing repository was found")
    check(code_of(ecr.describe_images, repositoryName="page/1") == "UnknownOperationException", "not offered yet")
    check(code_of(ecr.create_repository, repositoryName="a/b", tags=[{"Key": "k", "Value": "v"}])
          == "InvalidParameterException", "tags are not taken and lost")


def identities():
    sts = boto3.client("sts")
    check(sts.get_caller_identity()["Account"] == account, "another account")
    for arguments, code in [
        ({"Tags": [{"Key": "team", "Value": "a"}]}, "AccessDenied"),
        ({"PolicyArns": [{"arn": f"arn:aws:iam::{account}:policy/p"}]}, "ValidationError"),
        ({"SourceIdentity": "someone"}, "AccessDenied"),
    ]:
        role = {"RoleArn": f"arn:aws:iam::{account}:role/ci", "RoleSessionName": "night", "ExternalId": "who-asks"}
        check(code_of(sts.assume_role, **role, **arguments) == code, f"{arguments} must not be lost in silence")


def sent(method, path, headers, body):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    return answer.status, answer.headers, text


def signed(body, target=None, service="sts", sends=None, adds=None, **more):
    """A request as botocore signs it; what is sent may have another body, or more headers."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": address, **more}
    if target:
        headers |= {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    request = botocore.awsrequest.AWSRequest("POST", endpoint + "/", headers, body)
    credentials = botocore.session.get_session().get_credentials()
    botocore.auth.SigV4Auth(credentials, service, "us-east-1").add_auth(request)
    return sent("POST", "/", dict(request.headers) | (adds or {}), sends or request.body)


WHO = "Action=GetCallerIdentity&Version=2011-06-15"


def the_wire():
    status, headers, text = signed(WHO)
    check(status == 200 and headers["content-type"] == "text/xml", f"{status} {text}")
    status, headers, text = signed(WHO, Accept="application/json")
    identity = json.loads(text)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    check(identity["Account"] == account, text)
    # The body is part of what is signed, and so is the service.
    for what, expected, answer in [
        ("a changed body", "SignatureDoesNotMatch", signed(WHO, sends=WHO + "&A=b")),
        ("another service", "IncompleteSignature", signed(WHO, service="ecr")),
        ("no signature", "MissingAuthenticationToken",
         sent("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, WHO)),
        ("a parameter twice", "ValidationError", signed(WHO + "&Action=AssumeRole")),
        ("an unknown action", "InvalidAction", signed("Action=Nothing&Version=2011-06-15")),
        ("a header added", "IncompleteSignature", signed(WHO, adds={"X-Amz-Meta": "a"})),
    ]:
        status, _, text = answer
        check(status in (400, 403) and f"<Code>{expected}</Code>" in text, f"{what}: {status} {text}")
    for what, expected, answer in [
        ("no signature", "MissingAuthenticationTokenException",
         sent("POST", "/", {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"}, "{}")),
        ("an unknown target", "UnknownOperationException", signed("{}", target="Other.Get", service="ecr")),
        ("no JSON", "InvalidParameterException",
         signed("{", target="AmazonEC2ContainerRegistry_V20150921.CreateRepository", service="ecr")),
    ]:
        status, headers, text = answer
        check(status == 400 and json.loads(text)["__type"] == expected, f"{what}: {status} {text}")
        check(headers["x-amzn-errortype"] == expected, "header and body agree")
        check(headers["x-amzn-requestid"], "every answer has a request id")
    large = signed("x" * (2 << 20), target="AmazonEC2ContainerRegistry_V20150921.CreateRepository", service="ecr")
    check(large[0] == 400, f"a large body: {large}")


def presigned():
    credentials = botocore.session.get_session().get_credentials()
    request = botocore.awsrequest.AWSRequest("GET", f"{endpoint}/?{WHO}", {"Host": address})
    botocore.auth.SigV4QueryAuth(credentials, "sts", "us-east-1", expires=60).add_auth(request)
    path = request.url[len(endpoint):]
    status, _, text = sent("GET", path, {}, None)
    check(status == 200 and account in text, f"{status} {text}")
    status, _, text = sent("GET", path.replace("GetCallerIdentity", "GetSessionToken"), {}, None)
    check(status == 403 and "SignatureDoesNotMatch" in text, f"{status} {text}")


typed_errors_and_pages()
identities()
the_wire()
presigned()
