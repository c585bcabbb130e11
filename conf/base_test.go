package conf

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// commentOf returns the comment right above line (counted from 1) of base.yml as one text.
func commentOf(line int) string {
	lines := strings.Split(string(baseFile), "\n")
	var comment []string
	for i := line - 2; i >= 0; i-- {
		rest, ok := strings.CutPrefix(strings.TrimSpace(lines[i]), "# ")
		if !ok {
			break
		}
		comment = append([]string{rest}, comment...)
	}
	return strings.Join(comment, " ")
}

// base.yml is the reference: each key has a comment that ends with the default, which is the value
// there; and keys without effect say so with the note's words.
func TestEveryKeyIsDocumented(t *testing.T) {
	l := newLoader()
	for _, k := range l.loaded.keys {
		comment := commentOf(l.loaded.origins[k.path].Line)
		text, stated, ok := strings.Cut(comment, "Default: ")
		stated, point := strings.CutSuffix(stated, ".")
		if !ok || !point || len(text) < 12 {
			t.Errorf("%s: comment %q, want a meaning and \"Default: X.\"", k.path, comment)
			continue
		}
		before := k.value.String()
		if stated == "none" && before == "" {
			continue
		}
		word := input{words: []string{stated}}
		l.set(k, Origin{Layer: LayerFlag}, word)
		if len(l.problems) > 0 || k.value.String() != before {
			t.Errorf("%s: documented default %q, value %q %v", k.path, stated, before, l.problems)
			l.problems = nil
		}
	}
	for _, k := range l.loaded.keys {
		comment := commentOf(newLoader().loaded.origins[k.path].Line)
		if (k.note != "") != strings.Contains(comment, "No effect: ") {
			t.Errorf("%s: note %q, comment %q", k.path, k.note, comment)
		}
	}
}

// Every field of Config is bound to exactly one key.
func TestEveryFieldHasAKey(t *testing.T) {
	var c Config
	keys := schema(&c)
	bound := make(map[uintptr]int)
	for _, k := range keys {
		if k.note == "" {
			bound[reflect.ValueOf(k.value).FieldByName("target").Pointer()]++
		}
	}
	var visit func(name string, v reflect.Value)
	visit = func(name string, v reflect.Value) {
		if v.Kind() != reflect.Struct {
			if n := bound[v.Addr().Pointer()]; n != 1 {
				t.Errorf("%s is bound to %d keys, want 1", name, n)
			}
			return
		}
		for i := range v.NumField() {
			visit(name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
	visit("Config", reflect.ValueOf(&c).Elem())
}

// The sections and keys of the original, by name.
func TestOriginalKeysAreThere(t *testing.T) {
	byPath := newLoader().byPath
	for section, names := range map[string]string{
		"threads":      "memory storage routing benchmark",
		"bench_config": "num-benchmark-nodes",
		"capacities":   "memory-cap storage-cap",
		"kvs_config":   "value-size shortcut-size log-block-size log-cache-len log-block-prealloc-num",
		"replication":  "memory storage minimum local",
		"policy": "reconfiguration elasticity selective-rep tiering batching batchingthreshold caching adaptive-caching " +
			"weight-or-vratio latencythreshold using_avg_latency perf-monitoring grace-period timeout server-report-period " +
			"server-key-monitor-period policy-decision-period",
		"net_config": "request_puller_hwm request_puller_backlog response_puller_hwm response_puller_backlog",
		"ib_config": "total_available_memory_nodes num_initial_memory_nodes num_initial_storage_nodes threads_per_memory " +
			"threads_per_storage num_storage_managers msg_size storage_node_ips clover_memc_ips sock_port rank",
		"monitoring": "mgmt_ip ip",
		"routing":    "monitoring ip",
		"user":       "monitoring routing ip routing-elb",
		"server":     "monitoring routing seed_ip public_ip private_ip mgmt_ip",
		"trigger":    "benchmark management",
	} {
		for _, name := range strings.Fields(names) {
			if _, ok := byPath[section+"."+name]; !ok {
				t.Errorf("no key %s.%s", section, name)
			}
		}
	}
}

func TestSLO(t *testing.T) {
	c := Default()
	c.Policy.UsingAverageLatency = true
	if got := c.SLO(); got != 1200*time.Microsecond {
		t.Errorf("SLO of the mean is %v, want the original's 1.2ms", got)
	}
	c.Policy.LatencyThreshold = time.Second
	if got := c.SLO(); got != time.Second {
		t.Errorf("SLO is %v, not the one configured", got)
	}
}

// The policies' defaults are the original's figures.
func TestPolicyDefaults(t *testing.T) {
	c := Default()
	p, d := c.Policy, c.Dinomo.Policy
	for name, c := range map[string]struct{ got, want string }{
		"latency":    {c.SLO().String(), "16ms"},
		"grace":      {p.GracePeriod.String(), "1m30s"},
		"decision":   {p.DecisionPeriod.String(), "10s"},
		"report":     {p.ServerReportPeriod.String(), "5s"},
		"key report": {p.KeyReportPeriod.String(), "20s"},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s, want %s", name, c.got, c.want)
		}
	}
	if d.MinKNs != 4 || d.MaxKNs != 6 || d.AddAboveOccupancy != 0.20 || d.RemoveBelowOccupancy != 0.15 || d.HotKeyDeviations != 3 || d.ColdKeyDeviations != 1 {
		t.Errorf("policy limits %+v", d)
	}
}

// A documented tree has no anchors, tags or other things that the loader refuses in other files.
func TestBaseIsPlain(t *testing.T) {
	body, err := parse(baseFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := body.(*ast.MappingNode); !ok || len(baseFile) > maxFileBytes {
		t.Fatalf("base.yml is a %T of %d bytes", body, len(baseFile))
	}
}
