package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
)

func TestCLI(t *testing.T) {
	cluster, err := clienttest.Start(clienttest.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	datadriven.RunTest(t, "testdata/cli.txt", func(t *testing.T, d *datadriven.TestData) string {
		var out, errs strings.Builder
		o := Options{Client: client.Options{Routing: []string{cluster.Routing()}, AnyPort: true}, In: strings.NewReader(d.Input), Out: &out, Err: &errs}
		if d.Cmd == "args" {
			for _, a := range d.CmdArgs {
				o.Args = append(o.Args, a.Key)
			}
		}
		status := Main(context.Background(), o)
		return fmt.Sprintf("%s%sstatus %d\n", out.String(), errs.String(), status)
	})
}

func TestNoCluster(t *testing.T) {
	var errs strings.Builder
	o := Options{Err: &errs, Out: &errs, Args: []string{"GET", "a"}}
	if status := Main(context.Background(), o); status != StatusFailed || !strings.Contains(errs.String(), "routing") {
		t.Errorf("%d, %s", status, errs.String())
	}
	errs.Reset()
	o.Client, o.Timeout = client.Options{Routing: []string{"tcp://127.0.95.9:8200"}, AnyPort: true}, 100_000_000
	if status := Main(context.Background(), o); status != StatusFailed || !strings.Contains(errs.String(), "no routing node answered") {
		t.Errorf("%d, %s", status, errs.String())
	}
}

func TestCompletion(t *testing.T) {
	if got := complete("put"); !slices.Equal(got, []string{"PUT ", "PUT_CAUSAL ", "PUT_ORDERED_SET ", "PUT_PRIORITY ", "PUT_SET "}) {
		t.Errorf("%q", got)
	}
	if got := complete("GET a"); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
