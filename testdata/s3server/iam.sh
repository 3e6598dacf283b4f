# Runs versitygw beside its IAM service, which has users and policies. Its arguments are the
# program, an empty folder, the port of S3, and a port for the IAM service.
gateway=$1 folder=$2 s3=$3 iam=$4
pids=
trap 'kill -9 $pids; wait; exit' TERM

export ROOT_ACCESS_KEY=$ACCESS_KEY ROOT_SECRET_KEY=$SECRET_KEY
mkdir "$folder/objects" "$folder/users"
"$gateway" --port 127.0.0.1:$iam --quiet iam --dir "$folder/users" --private-ports "$folder/socket" & pids=$!
while kill -0 $pids && ! test -S "$folder/socket"; do sleep 0.02; done
"$gateway" --port 127.0.0.1:$s3 --quiet --keep-alive --iam-standalone-endpoint "$folder/socket" --iam-cache-disable \
	posix "$folder/objects" & pids="$pids $!"
wait
