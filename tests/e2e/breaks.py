"""How each promise is broken on a live installation, and which checks must turn red by it.

A break names the first host of a group, or the operator's machine; what is done is undone whatever
happens.
"""

from dataclasses import dataclass

_RELOAD = "systemctl reload nginx && sleep 1"
_NGINX_BACK = f"mv /root/nginx.red /etc/nginx/nginx.conf && {_RELOAD}"
_FIREWALL_BACK = "nft -f /etc/holdfast/firewall.nft"


@dataclass(frozen=True)
class Break:
    """What breaks a promise: by group, what its first host is told to do, and to undo.

    The group `operator` is the operator's machine.
    """

    control: str
    checks: tuple[str, ...]
    do: dict[str, str]
    undo: dict[str, str]


def _nginx(edit):
    """Return what changes nginx's configuration by a sed script."""
    return (
        "cp -a /etc/nginx/nginx.conf /root/nginx.red && "
        f"sed -i '{edit}' /etc/nginx/nginx.conf && {_RELOAD}"
    )


def _without_last(header):
    """Return what takes a header out of the last place that sends it."""
    return (
        "cp -a /etc/nginx/nginx.conf /root/nginx.red && "
        f"line=$(grep -n 'add_header {header}' /etc/nginx/nginx.conf | tail -1 | cut -d: -f1) && "
        f'sed -i "${{line}}d" /etc/nginx/nginx.conf && {_RELOAD}'
    )


# A service in clear on the application host, reached from everywhere.
_CLEAR_SERVICE = {
    "app": "nft insert rule inet holdfast inbound tcp dport 8000 accept && "
    "systemd-run --quiet --unit=audit-red python3 -m http.server 8000",
    "web": "nft insert rule inet holdfast outbound tcp dport 8000 accept && sleep 1",
}
_CLEAR_SERVICE_BACK = {
    "app": f"systemctl stop audit-red; {_FIREWALL_BACK}",
    "web": _FIREWALL_BACK,
}

_OTHER_CERTIFICATE = """
mkdir /root/tls.red && cp -a /run/holdfast/web/tls.pem /root/tls.red/
names=$(openssl x509 -in /run/holdfast/web/tls.pem -noout -ext subjectAltName | tail -1 | tr -d ' ')
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=red \
    -addext "subjectAltName=$names" -keyout /root/tls.red/new.key -out /root/tls.red/new.crt
cat /root/tls.red/new.key /root/tls.red/new.crt > /run/holdfast/web/tls.pem
"""
_OTHER_CERTIFICATE_BACK = "cp -a /root/tls.red/tls.pem /run/holdfast/web/ && rm -r /root/tls.red"

_STALE_HOST = """
echo 'Unattended-Upgrade::Origins-Pattern { "origin=*"; };' > /etc/apt/apt.conf.d/zzz-red
systemctl stop apt-daily.timer
mkdir /srv/red && cd /srv/red
printf '%s\\n' 'Package: base-files' 'Version: 999' "Architecture: $(dpkg --print-architecture)" \
    'Maintainer: red' 'Filename: ./none.deb' 'Size: 1' 'Description: red' \
    "SHA256: $(sha256sum < /dev/null | cut -c-64)" > Packages
printf '%s\\n' 'Origin: Debian' 'Label: Debian-Security' 'Suite: stable-security' 'SHA256:' \
    " $(sha256sum Packages | cut -c-64) $(stat -c %s Packages) Packages" > Release
echo 'deb [trusted=yes] file:/srv/red ./' > /etc/apt/sources.list.d/red.list
apt-get -q update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/red.list \
    -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0
cp /usr/bin/sleep /usr/local/bin/red
systemd-run --quiet --unit=audit-red /usr/local/bin/red 600
sleep 1
rm /usr/local/bin/red
mkdir /root/lists.red
cp -a /var/lib/apt/lists/*-security_InRelease /root/lists.red/
sed -i "s/^Valid-Until: .*/Valid-Until: $(date -R -u -d '3 days ago')/" \
    /var/lib/apt/lists/*-security_InRelease
"""
_STALE_HOST_BACK = """
systemctl stop audit-red
rm -rf /etc/apt/apt.conf.d/zzz-red /etc/apt/sources.list.d/red.list /srv/red \
    /var/lib/apt/lists/_srv_red_*
cp -a /root/lists.red/* /var/lib/apt/lists/
rm -r /root/lists.red
systemctl start apt-daily.timer
"""

_OPEN_SSH = """
cp -a /etc/ssh/sshd_config /root/sshd.red
printf '%s\\n' 'PasswordAuthentication yes' 'AuthenticationMethods any' 'PermitRootLogin yes' \
    'AllowUsers root intruder@192.0.2.66' 'KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256' |
    cat - /root/sshd.red > /etc/ssh/sshd_config
install -d -m 700 /root/.ssh
cp /home/ops/.ssh/authorized_keys /root/.ssh/authorized_keys
systemctl reload ssh
sleep 1
"""
# Other ways to a login than the keys that are listed, and one that only some are given.
_SIDE_DOORS = """
cp -a /etc/ssh/sshd_config /root/sshd.red
ssh-keygen -q -t ed25519 -N '' -f /root/ca.red
printf '%s\\n' 'AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/keys.red/%u' \
    'TrustedUserCAKeys /root/ca.red.pub' 'AuthorizedPrincipalsFile /etc/ssh/principals.red' \
    'AuthorizedKeysCommand /bin/true' 'AuthorizedKeysCommandUser nobody' |
    cat - /root/sshd.red > /etc/ssh/sshd_config
sshd -t
systemctl reload ssh
sleep 1
"""
_SIDE_DOORS_BACK = """
mv /root/sshd.red /etc/ssh/sshd_config
rm -f /root/ca.red /root/ca.red.pub
systemctl reload ssh
"""
_EXCEPTION = """
cp -a /etc/ssh/sshd_config /root/sshd.red
network=$(sshd -T | sed -n 's/^allowusers [^@]*@//p' | tail -1)
printf '%s\\n' "Match Address $network" 'AllowTcpForwarding yes' >> /etc/ssh/sshd_config
sshd -t
systemctl reload ssh
sleep 1
"""

_OPEN_SSH_BACK = """
mv /root/sshd.red /etc/ssh/sshd_config
rm -f /root/.ssh/authorized_keys
systemctl reload ssh
"""

_INTRUDER = """
useradd --create-home --shell /bin/bash --password '$6$red$red' red
install -d -m 700 -o red /home/red/.ssh
cp /home/ops/.ssh/authorized_keys /home/red/.ssh/
echo 'red ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/red
"""

# The second line of a key, so that only who knows the key sees that it is one.
_KEY_LINE = "sed -n '/PRIVATE KEY/,$p' /run/holdfast/web/tls.pem | sed -n 3p"
_NEW_KEY = "systemctl restart holdfast-agent-web; sleep 3"
# A certificate for a year, which nobody is told to read.
_LONG_CERTIFICATE = _OTHER_CERTIFICATE.replace("-days 1 ", "-days 400 ")
_PEPPER = "/etc/credstore.encrypted/red"
# What local programs take for Vault, in clear.
_CLEAR_VAULT = """
mkdir -p /srv/red/v1/sys
echo '{"initialized": true, "sealed": false}' > /srv/red/v1/sys/seal-status
systemd-run --quiet --unit=audit-red python3 -m http.server --directory /srv/red 8299
nft 'table ip red { chain red { type nat hook output priority -100 ;
     ip daddr 127.0.0.1 tcp dport 8200 redirect to :8299 ; } ; }'
sleep 1
"""
_CLEAR_VAULT_BACK = "nft delete table ip red; systemctl stop audit-red; rm -r /srv/red"
_HBA = "/etc/postgresql/17/main/pg_hba.conf"
_CONF = "/etc/postgresql/17/main/postgresql.conf"
_SQL = "cd / && runuser -u postgres -- psql -XAtqc"

BREAKS = (
    Break(
        "T1",
        (
            "test_every_port_that_answers_an_outsider_is_encrypted",
            "test_every_hop_inside_is_encrypted",
        ),
        _CLEAR_SERVICE,
        _CLEAR_SERVICE_BACK,
    ),
    Break(
        "T1",
        ("test_the_names_are_served_encrypted",),
        {"web": "systemctl stop nginx"},
        {"web": "systemctl start nginx"},
    ),
    Break(
        "T2",
        (
            "test_old_versions_get_an_alert",
            "test_a_client_that_speaks_old_tls_is_refused",
            "test_weak_suites_of_tls_1_2_are_refused",
        ),
        {
            "web": _nginx(
                "s/ssl_protocols .*/ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;/;"
                "s/ssl_ciphers .*/ssl_ciphers ALL:@SECLEVEL=0;/"
            )
        },
        {"web": _NGINX_BACK},
    ),
    Break(
        "T2",
        ("test_new_versions_are_spoken_in_order", "test_the_hybrid_key_exchange_comes_first"),
        {"web": _nginx("s/ssl_protocols .*/ssl_protocols TLSv1.2;/")},
        {"web": _NGINX_BACK},
    ),
    Break(
        "T6",
        (
            "test_security_updates_and_no_others_are_unattended",
            "test_the_timers_run",
            "test_the_package_lists_are_fresh",
            "test_no_security_update_waits",
            "test_nothing_runs_replaced_code",
        ),
        {"app": _STALE_HOST},
        {"app": _STALE_HOST_BACK},
    ),
    Break(
        "B1",
        ("test_https_is_demanded_for_a_year",),
        {"web": _without_last("Strict-Transport-Security")},
        {"web": _NGINX_BACK},
    ),
    Break(
        "B1",
        ("test_https_is_demanded_over_tls_only",),
        {
            "web": _nginx(
                r'/map $https $holdfast_hsts/,/}/s/default "";/default "max-age=63072000";/'
            )
        },
        {"web": _NGINX_BACK},
    ),
    Break(
        "B2",
        ("test_nothing_runs_unless_it_is_turned_on",),
        {"web": _without_last("Content-Security-Policy")},
        {"web": _NGINX_BACK},
    ),
    Break(
        "B3",
        ("test_no_page_may_be_framed",),
        {"web": _without_last("X-Frame-Options")},
        {"web": _NGINX_BACK},
    ),
    Break(
        "B4",
        ("test_types_are_not_guessed",),
        {"web": _without_last("X-Content-Type-Options")},
        {"web": _NGINX_BACK},
    ),
    Break(
        "B5",
        ("test_old_browsers_block_reflected_scripts",),
        {"web": _without_last("X-XSS-Protection")},
        {"web": _NGINX_BACK},
    ),
    Break(
        "S3",
        ("test_its_own_authority_vouches_for_each_name", "test_it_serves_its_own_names_only"),
        {
            "web": _OTHER_CERTIFICATE
            + _nginx(r"s/server_name \(api[^; ]*\);/server_name \1 other.example;/")
        },
        {"web": f"{_OTHER_CERTIFICATE_BACK} && {_NGINX_BACK}"},
    ),
    Break(
        "H1",
        (
            "test_sshd_takes_keys_only",
            "test_listed_users_from_listed_networks_only",
            "test_no_password_is_asked_for",
            "test_root_does_not_get_in",
            "test_weak_algorithms_are_not_offered",
        ),
        {"app": _OPEN_SSH},
        {"app": _OPEN_SSH_BACK},
    ),
    Break(
        "H1",
        ("test_sshd_takes_keys_only",),
        {"app": _SIDE_DOORS},
        {"app": _SIDE_DOORS_BACK},
    ),
    Break(
        "H1",
        ("test_sshd_takes_keys_only", "test_nobody_is_excepted"),
        {"app": _EXCEPTION},
        {"app": _SIDE_DOORS_BACK},
    ),
    Break(
        "H2",
        (
            "test_an_outsider_reaches_exactly_what_is_planned",
            "test_hosts_reach_exactly_what_is_planned",
            "test_exactly_what_is_planned_listens",
        ),
        _CLEAR_SERVICE,
        _CLEAR_SERVICE_BACK,
    ),
    Break(
        "H2",
        ("test_what_is_not_allowed_is_dropped",),
        {
            # That IPv4 is still dropped by somebody else's table does not help IPv6.
            "app": "nft 'chain inet holdfast forward { policy accept ; }'; nft 'table ip red "
            "{ chain red { type filter hook forward priority 0 ; policy drop ; } ; }'"
        },
        {"app": f"nft delete table ip red; {_FIREWALL_BACK}"},
    ),
    Break(
        "H2",
        ("test_exactly_what_is_planned_listens",),
        {
            # Nobody is squid outside the group egress.
            "app": "install -m 755 /usr/bin/python3 /usr/local/bin/squid; "
            "systemd-run --quiet --unit=audit-red /usr/local/bin/squid -c 'import socket, time; "
            's = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", 40000)); time.sleep(600)\'; '
            "sleep 1"
        },
        {"app": "systemctl stop audit-red; rm /usr/local/bin/squid"},
    ),
    Break(
        "H3",
        ("test_accounts_send_exactly_where_they_may", "test_a_listening_outsider_is_not_reached"),
        {"app": "nft insert rule inet holdfast outbound tcp dport '{ 22, 443 }' accept"},
        {"app": _FIREWALL_BACK},
    ),
    Break(
        "H3",
        ("test_accounts_send_exactly_where_they_may",),
        {"app": "nft insert rule inet holdfast outbound udp dport 53 accept"},
        {"app": _FIREWALL_BACK},
    ),
    Break(
        "H3",
        ("test_accounts_send_exactly_where_they_may",),
        {"app": "nft insert rule inet holdfast outbound icmp type echo-request accept"},
        {"app": _FIREWALL_BACK},
    ),
    Break(
        "H4",
        (
            "test_exactly_the_listed_people_have_accounts",
            "test_no_account_has_a_password",
            "test_exactly_the_listed_keys_open_accounts",
            "test_exactly_the_listed_people_become_root",
        ),
        {"app": _INTRUDER},
        {"app": "rm -f /etc/sudoers.d/red; userdel --remove --force red"},
    ),
    Break(
        "H5",
        ("test_kernel_settings_are_configured",),
        {"app": "echo 'kernel.kptr_restrict = 0' > /etc/sysctl.d/zzz-red.conf"},
        {"app": "rm /etc/sysctl.d/zzz-red.conf"},
    ),
    Break(
        "H6",
        ("test_no_unit_has_failed", "test_the_journal_survives_a_reboot", "test_failures_are_told"),
        {
            "app": "systemd-run --quiet --unit=audit-red false; sleep 1; "
            "printf '[Service]\\nExecStart=true\\n' > /etc/systemd/system/holdfast-red.service; "
            "systemctl daemon-reload; journalctl --relinquish-var"
        },
        {
            "app": "systemctl reset-failed audit-red; rm /etc/systemd/system/holdfast-red.service; "
            "systemctl daemon-reload; journalctl --flush"
        },
    ),
    Break(
        "H7",
        (
            "test_unknown_names_are_refused",
            "test_sessions_are_not_resumed",
            "test_versions_are_not_told",
        ),
        {
            "web": _nginx(
                r"s#ssl_reject_handshake on;#ssl_certificate /run/holdfast/web/tls.pem;\n"
                "ssl_certificate_key /run/holdfast/web/tls.pem;#;"
                "s/server_tokens off/server_tokens on/;"
                "s/ssl_session_tickets off/ssl_session_tickets on/;"
                "s/ssl_session_cache off/ssl_session_cache shared:red:1m/"
            )
        },
        {"web": _NGINX_BACK},
    ),
    Break(
        "H8",
        (
            "test_folders_for_everybody_run_nothing",
            "test_exactly_the_needed_programs_act_for_others",
            "test_no_memory_is_dumped",
        ),
        {
            "app": "mount -o remount,exec /tmp && "
            "mkdir /mnt/red && mount -t tmpfs -o suid red /mnt/red && "
            "install -m 4755 /bin/true /mnt/red/red && "
            "systemd-run --quiet --unit=audit-red --property=LimitCORE=infinity sleep 600"
        },
        {
            "app": "mount -o remount,nosuid,nodev,noexec /tmp; umount /mnt/red; rmdir /mnt/red; "
            "systemctl stop audit-red"
        },
    ),
    Break(
        "H8",
        ("test_exactly_the_needed_programs_act_for_others",),
        {
            "app": "install -m 755 /bin/true /usr/local/bin/red && "
            "setcap cap_net_admin+ep /usr/local/bin/red"
        },
        {"app": "rm /usr/local/bin/red"},
    ),
    Break(
        "R5",
        ("test_no_secret_is_where_it_stays_or_is_seen",),
        {"web": f"{_KEY_LINE} > /usr/local/share/red"},
        {"web": "rm /usr/local/share/red"},
    ),
    Break(
        "R5",
        ("test_no_secret_is_where_it_stays_or_is_seen",),
        {
            "web": f"systemd-run --quiet --unit=audit-red --setenv=RED=1 "
            f'python3 -c "import time; time.sleep(600)" "$({_KEY_LINE})"; sleep 1'
        },
        # Its start stands in the journal, too: what is there no more is no secret.
        {"web": f"systemctl stop audit-red; {_NEW_KEY}"},
    ),
    Break(
        "R5",
        ("test_no_secret_is_where_it_stays_or_is_seen",),
        {"web": f"{_KEY_LINE} | logger --tag red; journalctl --sync"},
        {"web": _NEW_KEY},
    ),
    Break(
        "R5",
        (
            "test_what_is_on_the_disk_is_the_named_exception",
            "test_material_is_in_memory_for_its_service_only",
        ),
        {
            "app": f"echo red | systemd-creds encrypt --name=red - {_PEPPER}; "
            "mkdir -p /run/holdfast; touch /run/holdfast/red"
        },
        {"app": f"rm {_PEPPER} /run/holdfast/red; rmdir --ignore-fail-on-non-empty /run/holdfast"},
    ),
    Break(
        "H9",
        ("test_it_is_open_and_votes",),
        {"vault": "systemctl restart vault"},
        {"operator": 'holdfast --name "$HOLDFAST_NAME" vault init --if-needed'},
    ),
    Break(
        "H9",
        ("test_every_request_is_written_down",),
        {"vault": "mv /var/log/vault/audit.log /var/log/vault/audit.red"},
        {"vault": "mv /var/log/vault/audit.red /var/log/vault/audit.log"},
    ),
    Break(
        "H9",
        ("test_nobody_is_root", "test_it_holds_what_the_inventory_asks_for"),
        {"operator": "for what in policy root; do python -m tests.e2e.vault_breaks $what; done"},
        {
            "operator": "python -m tests.e2e.vault_breaks mended; "
            'holdfast --name "$HOLDFAST_NAME" vault rotate-root --for revocation'
        },
    ),
    Break(
        "H9",
        ("test_it_speaks_tls_only",),
        {"vault": _CLEAR_VAULT},
        {"vault": _CLEAR_VAULT_BACK},
    ),
    Break(
        "H10",
        ("test_exactly_the_listed_may_come_in", "test_no_door_opens_without_tls_and_a_password"),
        {
            "database": f"cp -a {_HBA} /root/hba.red; sed -i '1i host all all all trust' {_HBA}; "
            "systemctl reload postgresql@17-main; sleep 1"
        },
        {"database": f"mv /root/hba.red {_HBA}; systemctl reload postgresql@17-main; sleep 1"},
    ),
    Break(
        "H10",
        ("test_logins_are_leased", "test_what_is_written_is_kept"),
        {
            "database": f"{_SQL} 'CREATE ROLE red LOGIN CREATEDB'; "
            f"cp -a {_CONF} /root/conf.red; echo 'full_page_writes = off' >> {_CONF}; "
            "systemctl reload postgresql@17-main; sleep 1"
        },
        {
            "database": f"{_SQL} 'DROP ROLE red'; mv /root/conf.red {_CONF}; "
            "systemctl reload postgresql@17-main; sleep 1"
        },
    ),
    Break(
        "H11",
        ("test_certificates_are_young", "test_what_is_served_is_what_was_issued"),
        {"web": f"systemctl stop holdfast-reload-web.path; {_LONG_CERTIFICATE}"},
        {"web": f"{_OTHER_CERTIFICATE_BACK}; systemctl start holdfast-reload-web.path"},
    ),
)
