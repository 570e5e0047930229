# The new cluster takes its name when it is whole: a run that is killed leaves only what the next removes.
cd /var/lib/postgresql/17
rm -rf .new
/usr/sbin/runuser --user=postgres -- /usr/lib/postgresql/17/bin/initdb --pgdata=.new --username=postgres \
    --data-checksums --encoding=UTF8 --locale=C.UTF-8 --locale-provider=builtin --builtin-locale=C.UTF-8 \
    --auth-local=peer --auth-host=reject --no-instructions
# PostgreSQL reads those of /etc.
rm .new/postgresql.conf .new/pg_hba.conf .new/pg_ident.conf
mv --no-target-directory .new main
sync --file-system main
