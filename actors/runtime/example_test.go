package runtime_test

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/runtime"
)

// A thread of the request plane: it drains what has arrived, answers, and flushes once.
func Example() {
	requests, err := runtime.ListenPull("tcp://127.0.0.1:0", runtime.PullOptions{Name: "requests"})
	if err != nil {
		fmt.Println(err)
		return
	}
	answers, err := runtime.ListenPull("tcp://127.0.0.1:0", runtime.PullOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answers.Close()
	peers := runtime.NewPeers(runtime.PeersOptions{})
	defer peers.Close(time.Second)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for batch := range requests.Batches() {
			for _, request := range batch.Frames {
				// A real server finds the address in the request.
				if push, err := peers.Get(answers.Address()); err == nil {
					_ = push.AppendBytes(append([]byte("you said "), request...)) // ErrQueueFull: counted, dropped
				}
			}
			batch.Release()
			peers.FlushDirty()
		}
	}()

	client := runtime.NewPush(requests.Address(), runtime.PushOptions{})
	defer client.Close(time.Second)
	if err := client.Send([]byte("hello")); err != nil {
		fmt.Println(err)
	}
	batch := <-answers.Batches()
	fmt.Printf("%s\n", batch.Frames[0])
	batch.Release()
	requests.Close()
	<-stopped
	// Output: you said hello
}
