// A worker that tells procq what it does, with Go's standard library. README.md says how to give it jobs.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// connect takes the stream between procq and this worker, and listens to it. Run by hand there is none: nothing is said,
// and nothing heard. One write is one message: procq takes all of its lines at once.
func connect() (io.Writer, <-chan string) {
	words := make(chan string)
	number, err := strconv.Atoi(os.Getenv("PROCQ_NOTIFY_FD"))
	if err != nil {
		return io.Discard, words
	}
	stream, err := net.FileConn(os.NewFile(uintptr(number), "procq"))
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stream); lines.Scan(); {
			words <- lines.Text()
		}
	}()
	return stream, words
}

// claim takes a job by renaming its file: of all who try, one succeeds. It returns its name, or "".
func claim() string {
	paths, _ := filepath.Glob("spool/*.job")
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".job")
		if os.Rename(path, "spool/"+name+".taken") == nil {
			return name
		}
	}
	return ""
}

// work is the job itself: it takes as many seconds as its file says, and is written down.
func work(name string) error {
	text, err := os.ReadFile("spool/" + name + ".taken")
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	ledger, err := os.OpenFile("ledger.txt", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer ledger.Close()
	_, err = fmt.Fprintln(ledger, name)
	return err
}

func main() {
	procq, words := connect()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	ended := make(chan error)
	var name string // of the job in hand
	var began time.Time
	...
}
