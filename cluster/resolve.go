package cluster

import (
	"context"
	"fmt"
	"net"
	"time"
)

// resolveTimeout bounds the look-up of the one host name that a configuration may have.
const resolveTimeout = 5 * time.Second

// resolve returns the IPs of user.routing-elb. Sockets take numeric addresses only, so it is looked up once, when
// the client starts.
func resolve(host string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, fmt.Errorf("user.routing-elb: %w; name a host that is known here, or list user.routing instead", err)
	}
	var ips []string
	for _, a := range addresses {
		ips = append(ips, a.Unmap().String())
	}
	return ips, nil
}
