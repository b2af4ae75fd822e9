#!/usr/bin/env bash
# packages.sh DIR NAME…: unpacks Debian packages below DIR, without installing them or starting what they contain.
#
# A package that the machine's own release has not is taken from the two that follow it, at the same mirror; a program of
# Go needs nothing of its own release. NAME.version beside them says which it is. Fails, and says which, if a package is in none of them.
set -euo pipefail
folder=$1
shift
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/packages"
cd "$folder/packages"

apt-cache show dpkg >/dev/null 2>&1 || apt-get update -qq
# Later releases have lists of their own, so that apt's stay as they are.
later=(-o "Dir::Etc::sourcelist=$folder/later.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists"
    -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || { echo "packages.sh: apt knows no mirror of Debian" >&2; exit 1; }
printf 'deb %s %s main\n' "$mirror" trixie "$mirror" sid >"$folder/later.list"

for name in "$@"; do
    if apt-cache show "$name" >/dev/null 2>&1; then
        apt-get download -qq -o APT::Sandbox::User=root "$name"
    else
        [ -e "$folder/updated" ] || apt-get "${later[@]}" update -qq
        touch "$folder/updated"
        apt-get "${later[@]}" download -qq "$name"
    fi
    dpkg -x "$name"_*.deb "$folder"
    dpkg-deb -f "$name"_*.deb Package Version >"$folder/$name.version"
    rm "$name"_*.deb
done
