#!/usr/bin/env bash
# 60-clients.sh [CLIENT…]: each client pushes and pulls an image of several platforms, an artifact with a subject, and a
# layer of 2 GiB, as far as it knows them. What it does not know is SKIPPED, in words, and it does what comes next to it.
#
# Each client has a registry of its own, so that it finds nothing there that another pushed. Clients that the machine has
# not come from Debian's packages, into the working folder; their daemons run from there and are stopped by their PIDs.
. "$(dirname "$0")/lib.sh"
. "$here/clients.sh"

client_skopeo() {
    version "$(skopeo --version)"
    skopeo login --tls-verify=false --username AWS --password "$password" "$host" >/dev/null
    to_registry multi team/multi:v1
    from_registry multi team/multi:v1
    seen "multi-platform: an index of 3 platforms, bit for bit"
    to_registry image team/signed:v1
    to_registry artifact "team/signed:$(tag_of artifact)"
    refers team/signed
    from_registry artifact "team/signed@$(entry artifact)"
    seen "artifact: pushed with its subject, listed as its referrer, bit for bit by digest; skopeo has no command that lists referrers"
    timed push to_registry large team/large:v1
    stored_whole
    timed pull from_registry large team/large:v1
    seen "2 GiB layer: $times, bit for bit"
}

# podman_like COMMAND IMPORT: podman and buildah share storage and transport.
podman_like() {
    local engine=$1 arch list
    run() { TMPDIR=$scratch "$engine" --root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs "$@"; }
    version "$($engine --version)"
    run login --tls-verify=false --username AWS --password "$password" "$host" >/dev/null
    to_registry multi team/multi:v1
    list=$host/$account/team/again:v1
    run manifest create list >/dev/null
    for arch in "${ARCHITECTURES[@]}"; do
        run pull -q --tls-verify=false --arch "$arch" "$host/$account/team/multi:v1" >"$scratch/id"
        run tag "$(cat "$scratch/id")" "localhost/$arch"
        [ "sha256:$(cat "$scratch/id")" = "$(config_of multi "$arch")" ] || fail "$engine pulled another image for $arch"
        run manifest add list "containers-storage:localhost/$arch" >/dev/null
    done
    run manifest push -q --all --tls-verify=false list "docker://$list" >/dev/null
    same_platforms team/again:v1
    seen "multi-platform: 3 platforms pulled from an index, pushed as an index, their content the same"
    to_registry image team/signed:v1
    to_registry artifact "team/signed:$(tag_of artifact)"
    run pull -q --tls-verify=false "$host/$account/team/signed@$(entry image)" >"$scratch/id"
    [ "sha256:$(cat "$scratch/id")" = "$(config_of image)" ] || fail "$engine pulled another subject"
    refers team/signed
    skipped "artifact: $engine of this version has no command for artifacts or referrers; it pulls the subject by digest"
    run rmi -a -f >/dev/null
    "$2"
    timed push run push -q --tls-verify=false "localhost/large" "docker://$host/$account/team/large:v1"
    stored_whole
    run rmi -a -f >/dev/null
    timed pull run pull -q --tls-verify=false "$host/$account/team/large:v1"
    [ "$(run inspect --type image --format "$inspect_ids" "$host/$account/team/large:v1")" = "[$(layer_of large)]" ] ||
        fail "$engine pulled another layer"
    seen "2 GiB layer: $times with its compression, the same when unpacked"
}
client_podman() {
    inspect_ids='{{.RootFS.Layers}}' podman_like podman podman_import
}
podman_import() { run import -q "$(file_of large)" localhost/large >/dev/null; }
client_buildah() {
    inspect_ids='{{.OCIv1.RootFS.DiffIDs}}' podman_like buildah buildah_import
}
buildah_import() {
    skopeo copy -q "oci:$work/large:latest" "containers-storage:[vfs@$scratch/storage+$scratch/run]localhost/large:latest"
}

client_ctr() {
    start_containerd
    version "containerd's ctr $(ctr version | sed -nE 's/ +Version: +//p' | head -n 1)"
    local access=(--plain-http --user "AWS:$password") name=$host/$account/team
    ctr_import multi "$name/multi:v1"
    quiet ctr images push "${access[@]}" "$name/multi:v1"
    ctr images rm --sync "$name/multi:v1" >/dev/null
    ctr images pull "${access[@]}" --snapshotter native --all-platforms "$name/multi:v1" >/dev/null
    ctr_holds multi
    from_registry multi team/multi:v1
    seen "multi-platform: an index of 3 platforms, bit for bit"
    ctr_import image "$name/signed:v1"
    ctr_import artifact "$name/signed:$(tag_of artifact)"
    quiet ctr images push "${access[@]}" "$name/signed:v1"
    quiet ctr images push "${access[@]}" "$name/signed:$(tag_of artifact)"
    refers team/signed
    ctr images rm --sync "$name/signed:v1" "$name/signed:$(tag_of artifact)" >/dev/null
    quiet ctr content fetch "${access[@]}" "$name/signed:$(tag_of artifact)"
    ctr_holds artifact
    seen "artifact: pushed with its subject, listed as its referrer, fetched bit for bit; ctr has no command that lists referrers"
    ctr_import large "$name/large:v1"
    timed push ctr images push "${access[@]}" "$name/large:v1"
    stored_whole
    ctr images rm --sync "$name/large:v1" >/dev/null
    timed pull ctr images pull "${access[@]}" --snapshotter native "$name/large:v1"
    ctr_holds large
    seen "2 GiB layer: $times, bit for bit"
}
ctr_import() {
    quiet ctr images import --no-unpack --all-platforms --base-name "local/$1" <(tar -C "$work/$1" -cf - .)
    quiet ctr images tag "local/$1:latest" "$2"
    quiet ctr images rm "local/$1:latest"
}

client_docker() {
    start_dockerd
    version "$(docker version --format 'docker {{.Client.Version}}, engine {{.Server.Version}}')"
    docker login --username AWS --password-stdin "$host" <<<"$password" >/dev/null 2>&1
    to_registry multi team/multi:v1
    local arch names=()
    for arch in "${ARCHITECTURES[@]}"; do
        docker pull -q --platform "linux/$arch" "$host/$account/team/multi:v1" >/dev/null
        docker tag "$host/$account/team/multi:v1" "$host/$account/team/again:$arch"
        [ "$(docker image inspect --format '{{.Id}}' "$host/$account/team/again:$arch")" = "$(config_of multi "$arch")" ] ||
            fail "docker pulled another image for $arch"
        docker push -q "$host/$account/team/again:$arch" >/dev/null
        names+=("$host/$account/team/again:$arch")
    done
    docker manifest create --insecure "$host/$account/team/again:v1" "${names[@]}" >/dev/null
    docker manifest push --insecure "$host/$account/team/again:v1" >/dev/null
    same_platforms team/again:v1
    seen "multi-platform: 3 platforms pulled from an index, pushed one by one and as a manifest list, their content the same"
    to_registry image team/signed:v1
    to_registry artifact "team/signed:$(tag_of artifact)"
    docker pull -q "$host/$account/team/signed@$(entry image)" >/dev/null
    [ "$(docker image inspect --format '{{.Id}}' "$host/$account/team/signed@$(entry image)")" = "$(config_of image)" ] ||
        fail "docker pulled another subject"
    refers team/signed
    skipped "artifact: docker has no command for artifacts or referrers; it pulls the subject by digest"
    local large=$host/$account/team/large:v1 id
    id=$(docker import "$(file_of large)" "$large")
    timed push docker push -q "$large"
    stored_whole
    docker rmi -f "$large" >/dev/null
    ! docker image inspect "$id" >/dev/null 2>&1 || fail "docker still has the image"
    timed pull docker pull -q "$large"
    [ "$(docker image inspect --format '{{.Id}} {{.RootFS.Layers}}' "$large")" = "$id [$(layer_of large)]" ] ||
        fail "docker pulled another layer"
    seen "2 GiB layer: $times with its compression, the same when unpacked"
}

client_crane() {
    version "crane $(sed -n 's/^Version: //p' "$tools/crane.version" 2>/dev/null || crane version)"
    crane auth login "$host" -u AWS -p "$password" >/dev/null 2>&1
    local name=$host/$account/team
    # Of a layout, crane pushes the index of its entries, here one that names the index of the platforms.
    quiet crane push --insecure --index "$work/multi" "$name/multi:v1"
    quiet crane pull --insecure --format oci "$name/multi:v1" "$scratch/multi"
    holds_image "$work/multi" "$scratch/multi"
    from_registry multi "team/multi@$(entry multi)"
    seen "multi-platform: an index of 3 platforms, within that of the layout, bit for bit"
    quiet crane push --insecure "$work/image" "$name/signed:v1"
    quiet crane push --insecure "$work/artifact" "$name/signed:$(tag_of artifact)"
    refers team/signed
    [ "$(crane ls --insecure "$name/signed" | sort | xargs)" = "$(tag_of artifact) v1" ] ||
        fail "crane did not believe that the registry lists referrers: $(crane ls --insecure "$name/signed" | xargs)"
    quiet crane pull --insecure --format oci "$name/signed@$(entry artifact)" "$scratch/artifact"
    same_image "$work/artifact" "$scratch/artifact"
    seen "artifact: pushed with its subject, listed as its referrer, no fallback tag, bit for bit; crane has no command that lists referrers"
    timed push crane push --insecure "$work/large" "$name/large:v1"
    stored_whole
    timed pull crane pull --insecure --format oci "$name/large:v1" "$scratch/large"
    same_image "$work/large" "$scratch/large"
    seen "2 GiB layer: $times, bit for bit"
}

client_oras() {
    version "oras $(oras version | sed -nE 's/^Version: +//p')"
    oras login --plain-http --username AWS --password-stdin "$host" <<<"$password" >/dev/null
    local name=$host/$account/team digest
    oras cp --from-oci-layout --to-plain-http "$work/multi:latest" "$name/multi:v1" >/dev/null
    oras cp --from-plain-http --to-oci-layout "$name/multi:v1" "$scratch/multi:latest" >/dev/null
    same_image "$work/multi" "$scratch/multi"
    seen "multi-platform: an index of 3 platforms, bit for bit"
    oras cp --from-oci-layout --to-plain-http "$work/image:latest" "$name/signed:v1" >/dev/null
    oras cp --from-oci-layout --to-plain-http "$work/artifact:latest" "$name/signed:$(tag_of artifact)" >/dev/null
    refers team/signed
    (cd "$scratch" && echo "a bill of materials" >sbom.txt && oras attach --plain-http --artifact-type application/vnd.example.sbom "$name/signed:v1" sbom.txt:text/plain >/dev/null)
    oras discover --plain-http --format json "$name/signed:v1" >"$scratch/found.json"
    [ "$("$PYTHON" -c 'import json,sys; d = json.load(sys.stdin); print(*sorted(r["artifactType"].split(".")[-1] for r in d.get("referrers") or d["manifests"]))' <"$scratch/found.json")" = "sbom signature" ] ||
        fail "oras found other referrers: $(cat "$scratch/found.json")"
    oras discover --plain-http --format json --artifact-type application/vnd.example.sbom "$name/signed:v1" >"$scratch/found.json"
    digest=$("$PYTHON" -c 'import json,sys; d = json.load(sys.stdin); [r] = d.get("referrers") or d["manifests"]; print(r["digest"])' <"$scratch/found.json")
    oras pull --plain-http -o "$scratch/sbom" "$name/signed@$digest" >/dev/null
    cmp "$scratch/sbom.txt" "$scratch/sbom/sbom.txt" || fail "oras pulled another file"
    oras cp -r --from-plain-http --to-plain-http "$name/signed:v1" "$name/copied:v1" >/dev/null
    refers team/copied 2
    seen "artifact: pushed and attached, both discovered, one by its type; pulled, and copied with the subject to another repository"
    (cd "$(dirname "$(file_of large)")" && timed push oras push --plain-http --artifact-type application/vnd.example.large "$name/large:v1" "$(basename "$(file_of large)"):application/x-tar" && echo "$times" >"$scratch/times")
    times=$(cat "$scratch/times")
    stored_whole
    timed pull oras pull --plain-http -o "$scratch/large" "$name/large:v1"
    cmp "$(file_of large)" "$scratch/large/$(basename "$(file_of large)")" || fail "oras pulled another file"
    seen "2 GiB layer: $times, bit for bit"
}

run_clients "$@"
