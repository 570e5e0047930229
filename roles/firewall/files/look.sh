# What the role answers for, as text: vars/main.yml says what it should be.
unit=/etc/systemd/system
rules=/etc/holdfast/firewall.nft
test -e /var/lib/holdfast/rollback/firewall/record.json && echo 'half done'
# The same words as in the unit, which notes what it has loaded.
{ sha256sum $rules && nft --stateless list table inet holdfast; } 2>&1 |
    cmp --silent - /run/holdfast-firewall && echo 'in force'
sha1sum $rules $unit/holdfast-firewall.service
LC_ALL=C stat --format='%A %U:%G %N' /etc/holdfast $rules $unit/holdfast-firewall.service \
    $unit/sysinit.target.wants/holdfast-firewall.service $unit/nftables.service
