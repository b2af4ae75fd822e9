#!/usr/bin/env bash
# Identity tokens of another issuer: the AWS CLI, boto3, skopeo, podman and docker's helper log in with them and no key of ours.
. "$(dirname "$0")/lib.sh"

command -v aws >/dev/null || PATH=$(dirname "$PYTHON"):$PATH
export TRANSSHIP__FEDERATION__PRIVATE_NETWORKS='["127.0.0.0/8"]'
start_dev
mkdir "$work/oidc"
"$PYTHON" "$here/oidc_issuer.py" "$work/oidc" >>"$work/issuer.log" 2>&1 &
pids+=($!)
wait_for "the start of the issuer" 30 test -s "$work/oidc/issuer"
issuer=$(cat "$work/oidc/issuer")
id=${issuer#https://}

"$TRANSSHIP" oidc-provider put "$issuer" --client-id sts.amazonaws.com --ca-certificate "$work/oidc/ca.pem" >/dev/null
trust() {
    cat >"$work/$1.json" <<JSON
{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
 "Principal": {"Federated": "arn:aws:iam::$account:oidc-provider/$id"},
 "Condition": {"StringEquals": {"$id:aud": "sts.amazonaws.com", "$id:sub": "$2"}}}}
JSON
    "$TRANSSHIP" role create "$1" --trust "$work/$1.json" >/dev/null
    "$TRANSSHIP" role put-policy "$1" all "$work/ecr.json" >/dev/null
}
echo '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}}' >"$work/ecr.json"
trust release repo:acme/app:ref:refs/heads/main
trust web system:serviceaccount:shop:web
role=arn:aws:iam::$account:role/release
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

# --- the AWS CLI: by its own call, and by the two variables
export AWS_ENDPOINT_URL=$TRANSSHIP_ENDPOINT AWS_DEFAULT_REGION=us-east-1 AWS_PAGER= AWS_DEFAULT_OUTPUT=json
export AWS_EC2_METADATA_DISABLED=true
taken() { aws sts assume-role-with-web-identity --role-arn "$role" --role-session-name job --web-identity-token "$(cat "$work/oidc/$1.jwt")"; }
taken main >"$work/taken.json"
[ "$(told "$work/taken.json" '["SubjectFromWebIdentityToken"]')" = repo:acme/app:ref:refs/heads/main ] || fail "$(cat "$work/taken.json")"
[ "$(told "$work/taken.json" '["Provider"]')" = "$issuer" ] || fail "another provider: $(cat "$work/taken.json")"
refused 'AccessDenied.*Not authorized to perform sts:AssumeRoleWithWebIdentity' taken feature
refused 'InvalidIdentityToken' taken forged
as_job() { env AWS_ROLE_ARN="$role" AWS_WEB_IDENTITY_TOKEN_FILE="$work/oidc/main.jwt" AWS_ROLE_SESSION_NAME=job "$@"; }
as_job aws sts get-caller-identity | grep -q "arn:aws:sts::$account:assumed-role/release/job" || fail "not the role's session"
as_job aws ecr create-repository --repository-name team/app >/dev/null
as_job "$PYTHON" - "$account" <<'PY'
import sys
import boto3
import botocore.exceptions
from botocore import UNSIGNED
from botocore.config import Config
import os

sts = boto3.client("sts")
assert sts.get_caller_identity()["Account"] == sys.argv[1]
bare = boto3.client("sts", config=Config(signature_version=UNSIGNED))
role = {"RoleArn": os.environ["AWS_ROLE_ARN"], "RoleSessionName": "boto"}
token = open(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]).read()
given = bare.assume_role_with_web_identity(**role, WebIdentityToken=token, DurationSeconds=900)
assert given["Audience"] == "sts.amazonaws.com", given
for bad, error in [("x.y.z", bare.exceptions.InvalidIdentityTokenException), (token[:-8], bare.exceptions.InvalidIdentityTokenException)]:
    try:
        bare.assume_role_with_web_identity(**role, WebIdentityToken=bad)
    except error:
        continue
    sys.exit(f"{bad[:20]} was taken")
PY

# --- the token itself as password
"$PYTHON" "$here/layout.py" "$work/image" 300000
copy() { skopeo copy -q --preserve-digests --dest-tls-verify=false --dest-creds "$account/release:$(cat "$work/oidc/$1.jwt")" "oci:$work/image" "docker://$host/$account/team/app:v1"; }
copy main
refused 'not authorized|unauthorized|denied|forbidden|authentication required|invalid username' copy feature
refused 'unauthorized|authentication required|invalid username' copy forged
if command -v podman >/dev/null; then
    podman login --tls-verify=false --username "$account/release" --password-stdin "$host" <"$work/oidc/main.jwt" >/dev/null
    skopeo inspect --tls-verify=false "docker://$host/$account/team/app:v1" >/dev/null
    podman logout "$host" >/dev/null
else
    echo "80-tokens: SKIPPED podman, which is not installed"
fi

# --- helpers
ln -s "$TRANSSHIP" "$work/docker-credential-transship"
mkdir -p "$work/docker"
echo '{"credHelpers": {"'"$host"'": "transship"}}' >"$work/docker/config.json"
as_job env PATH="$work:$PATH" REGISTRY_AUTH_FILE="$work/docker/config.json" \
    skopeo inspect --tls-verify=false "docker://$host/$account/team/app:v1" >/dev/null || fail "the helper's password does not pull"
cat >"$work/asked.json" <<JSON
{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": "$host/$account/team/app:v1",
 "serviceAccountToken": "$(cat "$work/oidc/pod.jwt")", "serviceAccountAnnotations": {"transship.dev/role-arn": "arn:aws:iam::$account:role/web"}}
JSON
"$TRANSSHIP" credential-provider <"$work/asked.json" >"$work/answer.json"
password=$(told "$work/answer.json" "['auth']['$host']['password']")
skopeo inspect --tls-verify=false --creds "AWS:$password" "docker://$host/$account/team/app:v1" >/dev/null || fail "the pod's password does not pull"
refused 'not authorized|denied|forbidden' skopeo copy -q --dest-tls-verify=false --dest-creds "AWS:$password" "oci:$work/image" "docker://$host/$account/team/app:v2"
echo "80-tokens: aws-cli, boto3, skopeo and the helpers log in with identity tokens alone"
