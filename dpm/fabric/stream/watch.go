package stream

// watch is a goroutine that waits for input on an otherwise idle connection, so that the peer's
// death is noticed without a system call in the owner's path: Dead then costs one load.
//
// It only peeks. When input is there it hands the connection to the owner, who reads the answer it
// is waiting for and hands it back.
type watch struct {
	ready  chan error    // one value: input is there (nil), or the connection is dead
	resume chan struct{} // one value: the owner has read its answer
}

// Watch starts the goroutine. It may be called once, before the connection is used.
func (c *Client) Watch() {
	c.watch = &watch{ready: make(chan error, 1), resume: make(chan struct{}, 1)}
	go c.watchInput()
}

func (c *Client) watchInput() {
	for {
		_, err := c.in.Peek(1)
		if err != nil {
			err = c.kill(c.why(err))
		}
		c.watch.ready <- err
		if err != nil {
			return
		}
		select {
		case <-c.watch.resume:
		case <-c.done:
			return
		}
	}
}

// await returns once there is input to read. Without a watch reading itself waits.
func (c *Client) await() error {
	if c.watch == nil {
		return nil
	}
	return <-c.watch.ready
}

// resume gives the connection back to the watch.
func (c *Client) resume() error {
	if c.watch == nil {
		return nil
	}
	// The deadline was this exchange's; the watch waits without one.
	err := c.socket.SetDeadline(noDeadline)
	c.watch.resume <- struct{}{}
	return err
}
