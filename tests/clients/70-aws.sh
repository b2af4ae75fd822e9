#!/usr/bin/env bash
# The AWS CLI and boto3 against the AWS wire: nothing is changed but the endpoint, which the environment names.
. "$(dirname "$0")/lib.sh"

command -v aws >/dev/null || PATH=$(dirname "$PYTHON"):$PATH
start_dev
export AWS_ENDPOINT_URL=$TRANSSHIP_ENDPOINT AWS_DEFAULT_REGION=us-east-1 AWS_PAGER= AWS_DEFAULT_OUTPUT=json
export AWS_EC2_METADATA_DISABLED=true

# --- sts
aws sts get-caller-identity >"$work/who.json"
[ "$(told "$work/who.json" '["Account"]')" = "$account" ] || fail "another account: $(cat "$work/who.json")"
[ "$(told "$work/who.json" '["Arn"]')" = "arn:aws:iam::$account:user/admin" ] || fail "another ARN: $(cat "$work/who.json")"
refused SignatureDoesNotMatch env AWS_SECRET_ACCESS_KEY=wrong aws sts get-caller-identity
refused SignatureDoesNotMatch env AWS_ACCESS_KEY_ID=AKIAAAAAAAAAAAAAAAAA aws sts get-caller-identity
refused 'valid region|IncompleteSignature|scoped to another region' env AWS_DEFAULT_REGION=eu-central-1 aws sts get-caller-identity

cat >"$work/trust.json" <<JSON
{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
 "Principal": {"AWS": "arn:aws:iam::$account:root"}, "Condition": {"StringEquals": {"sts:ExternalId": "who-asks"}}}}
JSON
"$TRANSSHIP" role create ci --trust "$work/trust.json" >/dev/null
cat >"$work/ecr.json" <<JSON
{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}}
JSON
"$TRANSSHIP" role put-policy ci all "$work/ecr.json" >/dev/null
role=arn:aws:iam::$account:role/ci
refused 'AccessDenied.*not authorized to perform: sts:AssumeRole' aws sts assume-role --role-arn "$role" --role-session-name night
refused ValidationError aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks --duration-seconds 43200
refused MalformedPolicyDocument aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks --policy '{"a":1}'
aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks \
    --policy '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:Describe*","Resource":"*"}}' >"$work/role.json"
as_role() {
    env AWS_ACCESS_KEY_ID="$(told "$work/role.json" '["Credentials"]["AccessKeyId"]')" \
        AWS_SECRET_ACCESS_KEY="$(told "$work/role.json" '["Credentials"]["SecretAccessKey"]')" \
        AWS_SESSION_TOKEN="$(told "$work/role.json" '["Credentials"]["SessionToken"]')" "$@"
}
as_role aws sts get-caller-identity | grep -q "arn:aws:sts::$account:assumed-role/ci/night" || fail "not the role's session"
as_role aws ecr describe-repositories >/dev/null
refused 'AccessDeniedException.*ecr:CreateRepository.*session policy' as_role aws ecr create-repository --repository-name team/no
refused AccessDenied as_role aws sts get-session-token
aws sts get-session-token --duration-seconds 900 >"$work/role.json"
as_role aws sts get-caller-identity | grep -q ":user/admin" || fail "the session token is not the user's"
refused 'InvalidClientTokenId' env AWS_ACCESS_KEY_ID="$(told "$work/role.json" '["Credentials"]["AccessKeyId"]')" \
    AWS_SECRET_ACCESS_KEY="$(told "$work/role.json" '["Credentials"]["SecretAccessKey"]')" AWS_SESSION_TOKEN=ts1.AAAA aws sts get-caller-identity

# --- managed policies narrow a session, a boundary its role, a control policy an account
cat >"$work/describe.json" <<JSON
{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:Describe*", "Resource": "*"}}
JSON
"$TRANSSHIP" managed-policy create readers "$work/describe.json" >/dev/null
readers=arn:aws:iam::$account:policy/readers
aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks --policy-arns arn="$readers" >"$work/role.json"
as_role aws ecr describe-repositories >/dev/null
refused 'AccessDeniedException.*session policy' as_role aws ecr create-repository --repository-name team/no
refused ValidationError aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks \
    --policy-arns arn=arn:aws:iam::aws:policy/ReadOnlyAccess
aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks >"$work/role.json"
"$TRANSSHIP" role put-boundary ci readers
refused 'AccessDeniedException.*permissions boundary' as_role aws ecr create-repository --repository-name team/no
refused 'IN_USE|attached' "$TRANSSHIP" managed-policy delete readers
"$TRANSSHIP" role delete-boundary ci
"$TRANSSHIP" user attach-policy admin "$readers"
"$TRANSSHIP" user list | grep -q readers || fail "the attached policy is not told"
"$TRANSSHIP" user detach-policy admin readers
"$TRANSSHIP" managed-policy delete readers

# --- a second factor, by an authenticator of our own
"$TRANSSHIP" -o json mfa-device create admin phone >"$work/mfa.json"
serial=$(told "$work/mfa.json" '["serial_number"]')
shows() { "$PYTHON" "$here/totp.py" "$(told "$work/mfa.json" '["seed"]')" "$1"; }
refused 'associated with this user' aws sts get-session-token --serial-number "$serial" --token-code "$(shows 0)"
"$TRANSSHIP" mfa-device enable admin phone "$(shows -2)" "$(shows -1)"
refused 'invalid MFA one time pass code' aws sts get-session-token --serial-number "$serial" --token-code "$(shows -1)"
code=$(shows 0)
cat >"$work/mfa-trust.json" <<JSON
{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole",
 "Principal": {"AWS": "arn:aws:iam::$account:root"}, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}}
JSON
"$TRANSSHIP" role create guarded --trust "$work/mfa-trust.json" >/dev/null
refused 'not authorized' "$TRANSSHIP" role assume guarded
"$TRANSSHIP" role assume guarded --mfa-device "$serial" --mfa-code "$code" --dry-run >"$work/dry" 2>&1
! grep -q AWS_SESSION_TOKEN "$work/dry" || fail "a dry run gave credentials"
refused 'must provide both' aws sts get-session-token --serial-number "$serial"
aws sts get-session-token --serial-number "$serial" --token-code "$code" >"$work/role.json"
refused 'invalid MFA one time pass code' aws sts get-session-token --serial-number "$serial" --token-code "$code"
as_role "$TRANSSHIP" user list >/dev/null
# The program's own, from which only calls of the registry are good without a second factor.
eval "$("$TRANSSHIP" -q session take | sed 's/^export /took_/')"
took() { env AWS_ACCESS_KEY_ID="$took_AWS_ACCESS_KEY_ID" AWS_SECRET_ACCESS_KEY="$took_AWS_SECRET_ACCESS_KEY" \
    AWS_SESSION_TOKEN="$took_AWS_SESSION_TOKEN" "$@"; }
took aws ecr describe-repositories >/dev/null
refused 'only when they were taken with MFA' took "$TRANSSHIP" user list
"$TRANSSHIP" -o json session federate dave --policy "$work/describe.json" >"$work/dave.json"
[ "$(told "$work/dave.json" '["arn"]')" = "arn:aws:sts::$account:federated-user/dave" ] || fail "$(cat "$work/dave.json")"
"$TRANSSHIP" session whose-key "$AWS_ACCESS_KEY_ID" | grep -q "$account" || fail "whose key it is"
aws sts get-session-token >"$work/role.json"
refused 'only when they were taken with MFA' as_role "$TRANSSHIP" user list
"$TRANSSHIP" mfa-device delete admin phone

# --- what a refusal was about
refused 'encoded message' "$TRANSSHIP" --account "$(told "$work/info.json" '["accounts"][1]["id"]')" user list
message=$(sed -nE 's/^ *encoded message: (.*)/\1/p' "$work/refused")
[ "$(aws sts decode-authorization-message --encoded-message "$message" --query DecodedMessage --output text |
    "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["context"]["action"])')" = iam:ListRoles ] || fail "another action"
refused InvalidAuthorizationMessageException aws sts decode-authorization-message --encoded-message "${message}A"
"$TRANSSHIP" decode-message "$message" | grep -q iam:ListRoles || fail "the program reads another message"

aws sts get-federation-token --name carol --policy file://"$work/ecr.json" >"$work/role.json"
[ "$(told "$work/role.json" '["FederatedUser"]["Arn"]')" = "arn:aws:sts::$account:federated-user/carol" ] || fail "$(cat "$work/role.json")"
as_role aws sts get-caller-identity | grep -q ":federated-user/carol" || fail "not the federated user"
as_role aws ecr describe-repositories >/dev/null
refused AccessDenied as_role aws sts assume-role --role-arn "$role" --role-session-name night --external-id who-asks
[ "$(aws sts get-access-key-info --access-key-id "$AWS_ACCESS_KEY_ID" --query Account --output text)" = "$account" ] || fail "whose key it is"
refused ValidationError aws sts get-access-key-info --access-key-id AKIAAAAAAAAAAAAAAAAA

# --- ecr
aws ecr create-repository --repository-name team/app --image-tag-mutability IMMUTABLE_WITH_EXCLUSION \
    --image-tag-mutability-exclusion-filters filterType=WILDCARD,filter=dev-* >"$work/repository.json"
[ "$(told "$work/repository.json" '["repository"]["imageTagMutability"]')" = IMMUTABLE_WITH_EXCLUSION ] || fail "not immutable"
uri=$(told "$work/repository.json" '["repository"]["repositoryUri"]')
refused RepositoryAlreadyExistsException aws ecr create-repository --repository-name team/app
refused RepositoryNotFoundException aws ecr describe-repositories --repository-names team/none
refused InvalidParameterException aws ecr create-repository --repository-name 'Team/UPPER'
refused RepositoryPolicyNotFoundException aws ecr get-repository-policy --repository-name team/app
refused 'InvalidParameterException.*PolicyText' aws ecr set-repository-policy --repository-name team/app --policy-text '{"Version":"2012-10-17"}'
policy='{"Version":"2012-10-17","Statement":[{"Sid":"Pull","Effect":"Allow","Principal":{"AWS":"'$account'"},"Action":"ecr:BatchGetImage"}]}'
aws ecr set-repository-policy --repository-name team/app --policy-text "$policy" >/dev/null
aws ecr get-repository-policy --repository-name team/app >"$work/policy.json"
[ "$(told "$work/policy.json" '["policyText"]')" = "$policy" ] || fail "the policy is not as its author wrote it"
aws ecr delete-repository-policy --repository-name team/app >/dev/null
refused RegistryPolicyNotFoundException aws ecr get-registry-policy
registry_policy='{"Version":"2012-10-17","Statement":[{"Sid":"R","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::'$account':root"},"Action":"ecr:ReplicateImage","Resource":"*"}]}'
aws ecr put-registry-policy --policy-text "$registry_policy" >/dev/null
aws ecr get-registry-policy | grep -q ReplicateImage || fail "the registry policy is not there"
aws ecr delete-registry-policy >/dev/null

# --- docker login as everybody does it, and a push with it
aws ecr get-login-password >"$work/password"
"$PYTHON" "$here/layout.py" "$work/image" 300000
push() { skopeo copy -q --preserve-digests --dest-tls-verify=false --dest-creds "AWS:$(cat "$work/password")" "oci:$work/$1" "docker://$uri:$2"; }
push image v1
push image dev-1
"$PYTHON" "$here/layout.py" "$work/other" 200000
refused 'tag invalid|TAG_INVALID|immutable' push other v1
push other dev-1
aws ecr put-image-tag-mutability --repository-name team/app --image-tag-mutability MUTABLE >/dev/null
push other v1
refused RepositoryNotEmptyException aws ecr delete-repository --repository-name team/app
aws ecr delete-repository --repository-name team/app --force >/dev/null

# --- another account
id=$(told "$work/info.json" '["accounts"][1]["access_key_id"]')
secret=$(told "$work/info.json" '["accounts"][1]["secret_access_key"]')
stranger() { env AWS_ACCESS_KEY_ID="$id" AWS_SECRET_ACCESS_KEY="$secret" "$@"; }
aws ecr create-repository --repository-name team/private >/dev/null
other=$(told "$work/info.json" '["accounts"][1]["id"]')
printf '{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "ecr:CreateRepository", "Resource": "*"}}' >"$work/scp.json"
"$TRANSSHIP" control-policy put no-more --kind service --target "$other" "$work/scp.json" >/dev/null
refused 'AccessDeniedException.*explicit deny in a service control policy' stranger aws ecr create-repository --repository-name own/app
"$TRANSSHIP" control-policy delete no-more --kind service --target "$other"
stranger aws ecr create-repository --repository-name own/app >/dev/null
refused AccessDeniedException stranger aws ecr describe-repositories --registry-id "$account" --repository-names team/private
refused AccessDeniedException stranger aws ecr describe-repositories --registry-id "$account" --repository-names team/none
refused AccessDeniedException stranger aws ecr delete-repository --registry-id "$account" --repository-name team/private --force

"$PYTHON" "$here/aws_wire.py" "$TRANSSHIP_ENDPOINT" "$account"
echo "70-aws: $(aws --version 2>&1 | cut -d' ' -f1) and boto3 $("$PYTHON" -c 'import boto3; print(boto3.__version__)') work with the endpoint alone"
