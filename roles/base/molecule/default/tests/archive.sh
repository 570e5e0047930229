# Run by test_updates.py on the host: makes small signed archives of what every Debian has.
set -eu
umask 022
home=/srv/holdfast-test
export DEBIAN_FRONTEND=noninteractive
sign() { GNUPGHOME=$home/$1 gpg --batch --yes --quiet "${@:2}"; }

# The library is a copy of zlib; versions differ by what is appended to it.
package() { # archive name version
  local root=$home/build/$2-$3
  mkdir -p "$root/DEBIAN" "$root/usr/lib/holdfast-test" "$home/$1/pool"
  printf '%s\n' "Package: $2" "Version: $3" 'Architecture: all' \
    'Maintainer: Test <test@holdfast.test>' 'Description: a library' >"$root/DEBIAN/control"
  cp --dereference /usr/lib/*/libz.so.1 "$root/usr/lib/holdfast-test/$2.so.1"
  echo "$3" >>"$root/usr/lib/holdfast-test/$2.so.1"
  dpkg-deb --root-owner-group --build "$root" "$home/$1/pool/$2_$3_all.deb" >/dev/null
}

index() { # archive label codename key ("" leaves it unsigned)
  cd "$home/$1"
  local dist=dists/$3 deb file
  rm -rf dists
  mkdir -p "$dist/main/binary-amd64"
  for deb in pool/*.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
  done >"$dist/main/binary-amd64/Packages"
  file=$dist/main/binary-amd64/Packages
  printf '%s\n' 'Origin: Debian' "Label: $2" 'Suite: stable' "Codename: $3" 'Architectures: amd64' \
    'Components: main' "Date: $(date -Ru)" 'SHA256:' \
    " $(sha256sum "$file" | cut -d' ' -f1) $(stat -c %s "$file") main/binary-amd64/Packages" >"$dist/Release"
  [ -z "$4" ] || sign "$4" --clearsign --output "$dist/InRelease" "$dist/Release"
}

prepare() {
  rm -rf $home
  mkdir -p $home/aside $home/right $home/wrong
  chmod 0700 $home/right $home/wrong
  command -v gpg gpg-agent >$home/had_gpg || {
    apt-get -qq update && apt-get -qq install -y gpg gpg-agent >/dev/null
  }
  for key in right wrong; do
    sign $key --passphrase '' --quick-generate-key "$key <test@holdfast.test>" ed25519 sign
  done
  sign right --export >$home/right.gpg
  mv /etc/apt/sources.list /etc/apt/sources.list.d $home/aside/ 2>/dev/null || true
  mkdir -p /etc/apt/sources.list.d
  local codename
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  for line in "security $codename-security" "plain $codename"; do
    echo "deb [signed-by=$home/right.gpg] http://127.0.0.1:8099/${line% *} ${line#* } main"
  done >/etc/apt/sources.list.d/test.list
  systemd-run --quiet --unit=test-archive --working-directory=$home \
    python3 -m http.server --bind 127.0.0.1 8099
}

service() {
  cat >/run/systemd/system/test-cipher.service <<UNIT
[Service]
ExecStart=/usr/bin/sleep infinity
Environment=LD_PRELOAD=/usr/lib/holdfast-test/libcipher.so.1
UNIT
  systemctl daemon-reload
  systemctl start test-cipher.service
}

restore() {
  systemctl stop test-cipher.service test-archive.service || true
  rm -f /run/systemd/system/test-cipher.service
  systemctl daemon-reload
  dpkg --purge libcipher libother
  rm -rf /etc/apt/sources.list.d /var/lib/apt/lists/127.0.0.1*
  mv $home/aside/* /etc/apt/
  [ -s $home/had_gpg ] || apt-get -qq purge -y --autoremove gpg gpg-agent >/dev/null
  rm -rf $home
  systemctl reset-failed
}

"$@"
