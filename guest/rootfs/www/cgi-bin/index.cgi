#!/bin/sh
# The page a person sees.
PATH=/bin:/sbin
. /lib/guest/functions
address=$(ip -4 addr show dev eth0 2>/dev/null | sed -n 's/.*inet \([0-9.]*\).*/\1/p' | head -n 1)
size=$(($(cat /sys/block/vda/size 2>/dev/null || cat /sys/block/sda/size 2>/dev/null || echo 0) / 2048))
printf 'Content-Type: text/html\r\n\r\n'
cat <<PAGE
<!doctype html>
<html lang="en"><title>$(hostname)</title>
<h1>Hello from $(hostname)</h1>
<pre>
hostname:    $(hostname)
ip:          ${address:-none}
instance-id: $(read_or none /run/instance-id)
disk:        $size MiB
boots:       $(cat /run/boots)
</pre>
<p>The same and more as JSON: <a href="/cgi-bin/info">/cgi-bin/info</a></p>
</html>
PAGE
