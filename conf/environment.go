package conf

import "strings"

// variables are the environment variables with which the original's start script configures a
// node, and the keys that each of them sets. Several IPs are separated by spaces. A variable that is
// empty or missing sets nothing.
var variables = []struct {
	name string
	keys []string
}{
	// The original's nodes have one address; PUBLIC_IP follows, for those that have another for clients.
	{"PRIVATE_IP", []string{"server.private_ip", "server.public_ip", "monitoring.ip", "routing.ip", "user.ip"}},
	{"PUBLIC_IP", []string{"server.public_ip"}},
	{"SEED_IP", []string{"server.seed_ip"}},
	{"MGMT_IP", []string{"monitoring.mgmt_ip", "server.mgmt_ip"}},
	{"MON_IPS", []string{"routing.monitoring", "user.monitoring", "server.monitoring"}},
	{"ROUTING_IPS", []string{"user.routing", "server.routing"}},
	{"BENCH_IPS", []string{"trigger.benchmark"}},
	{"MGMT_IPS", []string{"trigger.management"}},
	// Ours: the original has the pool's address in its configuration file only.
	{"DPM_IPS", []string{"dinomo.dpm.addresses"}},
}

func (l *loader) environment(lookup func(string) (string, bool)) {
	for _, v := range variables {
		word, ok := lookup(v.name)
		if !ok || strings.TrimSpace(word) == "" {
			continue
		}
		for _, path := range v.keys {
			l.setText(l.byPath[path], Origin{Layer: LayerEnvironment, Source: v.name}, word)
		}
	}
}
