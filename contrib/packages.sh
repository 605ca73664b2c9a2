# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# Sourced by contrib/quickstart and tests/run: which packages of Debian 12 are
# needed for what, and how they get there.

# shellcheck disable=SC2034 # for those who source this
build_packages=(
	gcc libc6-dev linux-libc-dev meson ninja-build pkg-config
	libbsd-dev libjemalloc-dev libjson-c-dev libkmod-dev libmunge-dev libslurm-dev libxxhash-dev nettle-dev
)
# shellcheck disable=SC2034 # for those who source this
test_packages=(
	clang clang-format jq libclang-rt-14-dev libcmocka-dev
	linux-headers-amd64 llvm mandoc munge procps python3 shellcheck stress-ng
)
# shellcheck disable=SC2034 # for those who source this
vm_packages=(
	busybox-static cpio gcc-12 kmod make qemu-system-x86 sparse xz-utils zstd
)
# shellcheck disable=SC2034 # for those who source this
long_packages=(dkms jq munge python3-matplotlib sqlite3)
# shellcheck disable=SC2034 # for those who source this
debug_kernel_packages=(bc bison flex libelf-dev libssl-dev make perl)

# missing_packages PACKAGE...: those that are not installed
missing_packages() {
	local package
	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
			grep -q '^install ok installed$' || echo "$package"
	done
}

# install_packages PACKAGE...: where they are missing; says what to do if it may
# not
install_packages() {
	local missing
	if ! command -v dpkg-query >/dev/null; then
		echo "No Debian here: install what corresponds to: $*" >&2
		return 0
	fi
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "Missing packages: ${missing[*]}" >&2
		echo "Run this with sudo, or: sudo apt-get install ${missing[*]}" >&2
		return 1
	fi
	echo "Installing ${missing[*]}"
	apt-get -qq update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
			--no-install-recommends install "${missing[@]}" >/dev/null
}
