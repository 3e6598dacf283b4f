# Runs versitygw over Azurite, Microsoft's emulator of Azure's blob storage. Its arguments are
# azurite-blob, an empty folder, the port of S3, and a port for Azurite.
azurite=$1 folder=$2 s3=$3 blobs=$4
pids=
trap 'kill -9 $pids; wait; exit' TERM

# The emulator's account has the same key everywhere.
export AZ_ACCOUNT_NAME=devstoreaccount1
export AZ_ACCESS_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
"$azurite" --blobHost 127.0.0.1 --blobPort $blobs --location "$folder" --silent --skipApiVersionCheck --disableTelemetry & pids=$!
export ROOT_ACCESS_KEY=$ACCESS_KEY ROOT_SECRET_KEY=$SECRET_KEY
"${SPILLWAY_VERSITYGW:-versitygw}" --port 127.0.0.1:$s3 --quiet --keep-alive azure --url http://127.0.0.1:$blobs/$AZ_ACCOUNT_NAME & pids="$pids $!"
wait
