# shellcheck shell=dash
# systemd.sh - inside/start goes on with systemd as process 1; the job is one of its services.
#
# Masked is what only costs time here, and systemd-tmpfiles: it empties /tmp, which takes minutes
# on the host's, and in a writable folder it would delete the host's files.
u=/run/systemd/system
$b mkdir -p $u /run/udev/rules.d /run/lock /run/dbus /run/user
# Devices keep the names that we gave them.
for rule in 60-rdma-persistent-naming 80-net-setup-link; do
	$b ln -s /dev/null /run/udev/rules.d/$rule.rules
done
for unit in systemd-tmpfiles-setup.service systemd-tmpfiles-clean.service timers.target \
	getty.target systemd-timesyncd.service systemd-journal-flush.service \
	systemd-sysusers.service systemd-udev-trigger.service kmod-static-nodes.service \
	modprobe@.service systemd-modules-load.service systemd-tmpfiles-setup-dev.service \
	systemd-update-utmp.service systemd-random-seed.service systemd-binfmt.service \
	proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
	sys-fs-fuse-connections.mount; do
	$b ln -s /dev/null $u/$unit
done
cat >$u/vm.target <<END
[Unit]
Requires=basic.target
After=basic.target
Wants=vm.service
AllowIsolate=yes
END
cat >$u/vm.service <<END
[Unit]
After=basic.target
[Service]
ExecStart=/bin/busybox sh "$VM_INSIDE/job"
Environment="PATH=$PATH" HOME=/root
LimitMEMLOCK=infinity
TasksMax=infinity
END
$b rm -f /.dockerenv # this is no container
exec /lib/systemd/systemd --system --unit=vm.target --show-status=0 --log-target=journal
