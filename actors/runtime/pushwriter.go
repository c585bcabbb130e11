package runtime

// Flush writes what is queued as far as the socket takes it now, and leaves the rest to a
// background goroutine. It never blocks and is a no-op while there is no connection.
func (p *Push) Flush() {
	p.mu.Lock()
	if p.mu.writing || p.mu.conn == nil || p.mu.queue.bytes == 0 {
		p.mu.Unlock()
		if p.options.private.sim != nil {
			p.simFlush()
		}
		return
	}
	p.mu.writing = true
	conn := p.mu.conn
	p.mu.Unlock()
	if !p.write(conn, false) {
		p.writesBlocked.Add(1)
		p.handOver()
	}
}

// handOver gives the writer's role, which the caller has, to the flusher.
func (p *Push) handOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.gone {
		p.mu.writing = false
		p.signal()
		return
	}
	p.kick <- struct{}{} // never blocks: there is one role, so at most one kick is on its way
}

// write writes the queue to conn until it is empty or the connection failed, and then gives
// up the writer's role. Unless it may wait, it returns false, with the role kept, as soon as
// the socket takes no more.
func (p *Push) write(conn *pushConn, wait bool) (done bool) {
	p.mu.Lock()
	for {
		b := p.mu.queue.next()
		if b == nil {
			break
		}
		p.mu.Unlock()
		n, err := conn.write(b, wait)
		p.writes.Add(1)
		p.bytesWritten.Add(int64(n))
		p.mu.Lock()
		if n > 0 {
			p.mu.queue.wrote(n)
			p.signal()
		}
		if err != nil {
			conn.fail() // connectLoop notices, takes the queue back and connects again
			break
		}
		if n < len(b) && !wait {
			p.mu.Unlock()
			return false
		}
	}
	p.mu.writing = false
	p.signal()
	p.mu.Unlock()
	return true
}

// flusher finishes what a Flush could not write at once.
func (p *Push) flusher() {
	defer p.wg.Done()
	for {
		select {
		case <-p.kick:
			p.mu.Lock()
			conn := p.mu.conn // stays: connectLoop waits for the writer's role before it changes it
			p.mu.Unlock()
			p.write(conn, true)
		case <-p.ctx.Done():
			p.flusherEnds()
			return
		}
	}
}

// flusherEnds gives up the role in case it was handed over and not taken.
func (p *Push) flusherEnds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.gone = true
	select {
	case <-p.kick:
		p.mu.writing = false
		p.signal()
	default:
	}
}
