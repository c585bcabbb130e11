# Sourced in both guests of a pair after the tests: rank 0 serves scratch memory with either set-up, and rank 1 measures it across
# the wire, and tells rank 0 when it has done.
bench="/dinomo fabric bench --backend ibverbs --set dinomo.rdma.setup"
if [ "$RANK" = 0 ]; then
  $bench=cm --listen "$SELF:7701" &
  cm=$!
  $bench=socket --listen "$SELF:7702" &
  socket=$!
  nc -l -p 7703 > /dev/null
  kill -INT $cm $socket
  wait $cm && wait $socket
  return
fi
for way in cm:7701 socket:7702; do
  echo "bench: ${way%:*}, from $SELF to $PEER"
  left=60
  until $bench="${way%:*}" --connect "$PEER:${way#*:}" --verbs read,write,cas --sizes 64,4096 --batches 1,16 --duration 200ms 2> /tmp/bench; do
    left=$((left - 1))
    [ $left -gt 0 ] || { cat /tmp/bench; return 97; }
    sleep 1 # rank 0 does not serve yet
  done
done
nc "$PEER" 7703 < /dev/null
