# Runs a Ceph cluster of one monitor and one OSD, which keeps everything in memory, with an
# object gateway. Its arguments are radosgw, an empty folder, the gateway's port, and the
# monitor's two.
radosgw=$1 folder=$2 gateway=$3 monitor=$4 monitor1=$5
pids=
trap 'kill -9 $pids; wait; exit' TERM

export CEPH_CONF="$folder/ceph.conf"
uuid() { cat /proc/sys/kernel/random/uuid; }
fsid=$(uuid) osd=$(uuid)
addresses="[v2:127.0.0.1:$monitor,v1:127.0.0.1:$monitor1]"
cat >"$CEPH_CONF" <<end
[global]
fsid = $fsid
mon initial members = a
mon host = $addresses
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
mon allow pool size one = true
mon max pg per osd = 10000
mon data avail crit = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4G
mon data = $folder/monitor
osd data = $folder/osd
rgw data = $folder/gateway
rgw frontends = beast endpoint=127.0.0.1:$gateway
run dir = $folder
admin socket = $folder/\$name.\$pid.asok
log file = $folder/\$name.log
end
mkdir "$folder/monitor" "$folder/osd" "$folder/gateway"

monmaptool --create --fsid $fsid --addv a "$addresses" "$folder/map" &&
	ceph-mon --mkfs -i a --monmap "$folder/map" || exit
ceph-mon -i a -f & pids=$!
timeout 60 ceph osd new $osd &&
	ceph-osd -i 0 --mkfs --osd-uuid $osd || { kill -9 $pids; exit 1; }
ceph-osd -i 0 -f & pids="$pids $!"
timeout 60 radosgw-admin user create --uid test --display-name test --access-key "$ACCESS_KEY" --secret "$SECRET_KEY" ||
	{ kill -9 $pids; exit 1; }
"$radosgw" -n client.rgw -f & pids="$pids $!"
wait
