// Go's chat, as scripts/chat_server.lua without commands: a goroutine that reads and one that writes for each client, and a
// lock around the room. A client whose queue is full is dropped.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
)

const queue = 2048 // messages

type client struct {
	conn net.Conn
	nick string
	out  chan []byte
}

var (
	lock    sync.Mutex
	members = map[*client]bool{}
	guests  int
)

func (c *client) send(text []byte) {
	select {
	case c.out <- text:
	default:
		c.conn.Close()
	}
}

func broadcast(text []byte, except *client) {
	lock.Lock()
	defer lock.Unlock()
	for c := range members {
		if c != except {
			c.send(text)
		}
	}
}

// What is queued goes in one write, if it fits.
func (c *client) write() {
	w := bufio.NewWriterSize(c.conn, 65536)
	for text := range c.out {
		w.Write(text)
		for n := len(c.out); n > 0; n-- {
			w.Write(<-c.out)
		}
		if w.Flush() != nil {
			c.conn.Close()
		}
	}
}

func join(conn net.Conn) *client {
	lock.Lock()
	defer lock.Unlock()
	guests++
	c := &client{conn, fmt.Sprintf("guest%d", guests), make(chan []byte, queue)}
	note := []byte(fmt.Sprintf("* %s has joined\n", c.nick))
	for other := range members {
		other.send(note)
	}
	members[c] = true
	return c
}

func serve(conn net.Conn) {
	c := join(conn)
	go c.write()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		broadcast([]byte("<"+c.nick+"> "+lines.Text()+"\n"), c)
	}
	lock.Lock()
	delete(members, c)
	close(c.out)
	lock.Unlock()
	conn.Close()
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		if conn, err := listener.Accept(); err == nil {
			go serve(conn)
		}
	}
}
