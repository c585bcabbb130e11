package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/actors/client/clienttest"
	"github.com/dinomo-kv/dinomo/messages"
)

// Example talks to a stand-in for a cluster; against a real one, Routing is made by RoutingEndpoints from the routing
// nodes' IPs.
func Example() {
	cluster, err := clienttest.Start(clienttest.Options{Threads: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()

	c, err := client.New(client.Options{Routing: []string{cluster.Routing()}, AnyPort: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	// One key at a time.
	if err := c.Put(ctx, "greeting", []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	value, err := c.Get(ctx, "greeting")
	fmt.Println(string(value), err)
	_, err = c.Get(ctx, "farewell")
	fmt.Println(errors.Is(err, messages.ErrKeyDoesNotExist))

	// A set grows where it is.
	_ = c.PutSet(ctx, "colours", []byte("red"))
	_ = c.PutSet(ctx, "colours", []byte("blue"))
	colours, err := c.GetSet(ctx, "colours")
	fmt.Printf("%s %v\n", colours, err)

	// Many operations in flight, called back as they end.
	var all sync.WaitGroup
	for i := range 100 {
		all.Add(1)
		err := c.Submit(client.Operation{Type: messages.RequestType_PUT, Key: fmt.Sprint("key", i), Value: []byte("v"),
			Done: func(r *client.Result) { all.Done() }})
		if err != nil {
			fmt.Println(err)
			all.Done()
		}
	}
	all.Wait()
	fmt.Println(cluster.Keys(), "keys")
	// Output:
	// hello <nil>
	// true
	// [blue red] <nil>
	// 102 keys
}
