# shellcheck shell=dash
# output.sh - runs a command whose output others follow in files.
#
# It goes through pipes into the files.  (Not straight into them: a program that opens its
# /dev/stderr would truncate them.  Not through a virtio port of the machine: what is queued there
# when the guest stops is lost.)

# run_command FOLDER - runs the shell text FOLDER/command, as leader of a process group whose
# number is in FOLDER/group; its output goes to FOLDER/out and FOLDER/err.  Sets code.
run_command()
{
	local pipes out err child late
	pipes=/run/pipes.${1##*/}
	mkfifo "$pipes.out" "$pipes.err"
	cat "$pipes.out" >>"$1/out" &
	out=$!
	cat "$pipes.err" >>"$1/err" &
	err=$!
	setsid /bin/bash "$1/command" </dev/null >"$pipes.out" 2>"$pipes.err" &
	child=$!
	echo $child >"$1/group"
	wait $child
	code=$?
	# Daemons that the command has left behind may hold the pipes open: they have 2 seconds.
	(sleep 2 && kill $out $err) >/dev/null 2>&1 &
	late=$!
	wait $out $err
	kill $late
	rm -f "$pipes.out" "$pipes.err"
} 2>/dev/null
