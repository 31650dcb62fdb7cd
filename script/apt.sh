# shellcheck shell=sh
# Sourced: packages of the Debian family without root and without touching the system. Everything happens in $apt_work,
# a directory that lives as long as the script; mirror and keys are those this machine is configured with.

apt_usable() { command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; }

# One line "URI RELEASE COMPONENT KEYRING" for each index apt is configured with; also before the first "apt-get update".
apt_indexes() {
    apt-get indextargets --no-release-info --format "\$(REPO_URI) \$(RELEASE) \$(COMPONENT) \$(SIGNED_BY)" 'Created-By: Packages'
}

# debian_suites SUITE...: their lines for sources.list, at the mirror of Debian that this machine is configured with.
debian_suites() {
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt_indexes |
        awk '$3 == "main" && $2 ~ /^(bookworm|trixie|forky|sid|(old)?stable|testing|unstable)$/ { print $1; exit }')
    [ -n "$mirror" ] && [ -r "$keys" ] || return 1
    for suite in "$@"; do echo "deb [signed-by=$keys] $mirror $suite main"; done
}

# This distribution's own lines for sources.list: no third party's, which may be slow or gone.
host_suites() {
    # shellcheck source=/dev/null
    names=$(. /etc/os-release && echo "${VERSION_CODENAME:-} ${UBUNTU_CODENAME:-} stable testing unstable")
    apt_indexes | awk -v names="$names" '
        BEGIN { split(names, name); for (i in name) wanted[name[i]] }
        $2 in wanted && $3 ~ /^(main|universe)$/ && !seen[$1, $2, $3]++ {
            print "deb", ($4 ~ /^\// ? "[signed-by=" $4 "]" : ""), $1, $2, $3
        }'
}

# apt_with_system_lists: apt_unpack will look in the lists this machine already has.
apt_with_system_lists() {
    apt_start
    echo 'APT::Sandbox::User "root";' >"$apt_work/apt.conf"
}

# apt_with_lists_of LINES: apt_unpack will look in these sources, whose lists are fetched now.
apt_with_lists_of() {
    apt_start
    echo "$1" >"$apt_work/sources.list"
    cat >"$apt_work/apt.conf" <<END
Dir::Etc { SourceList "$apt_work/sources.list"; SourceParts "/dev/null"; Preferences "/dev/null"; PreferencesParts "/dev/null"; };
Dir::State "$apt_work"; Dir::State { Lists "lists"; Status "/dev/null"; };
Dir::Cache "$apt_work"; Dir::Cache { Archives "archives"; pkgcache "pkgcache.bin"; srcpkgcache ""; };
APT::Sandbox::User "root"; APT::Update::Error-Mode "any"; Acquire { Languages "none"; Retries "2"; GzipIndexes "false"; };
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
END
    apt-get -qq -c "$apt_work/apt.conf" update
}

# apt_unpack PACKAGE[/SUITE]...: afterwards $apt_work/unpacked holds their files and nothing else.
apt_unpack() {
    rm -rf "$apt_work/unpacked" "$apt_work/debs"
    mkdir "$apt_work/unpacked" "$apt_work/debs"
    (cd "$apt_work/debs" && apt-get -qq -c "$apt_work/apt.conf" download "$@") || return 1
    for deb in "$apt_work"/debs/*.deb; do dpkg-deb -x "$deb" "$apt_work/unpacked" || return 1; done
}

apt_start() {
    [ -z "${apt_work:-}" ] || return 0
    mkdir -p .cache
    apt_work=$(mktemp -d "$PWD/.cache/apt.XXXXXX")
    trap 'rm -rf "$apt_work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$apt_work/lists/partial" "$apt_work/archives/partial"
}
