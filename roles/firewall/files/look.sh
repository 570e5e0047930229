# Says `in force` if the kernel has the very rules of the file, then the id of each account of $*.
# The same words as in the unit, which notes what it has loaded.
rules=/etc/holdfast/firewall.nft
{ sha256sum $rules && nft --stateless list table inet holdfast; } 2>&1 |
    cmp --silent - /run/holdfast-firewall && echo 'in force'
getent passwd "$@" | cut --delimiter=: --fields=1,3
exit 0
