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

// connect finds the stream between procq and this worker. Run by hand there is none: nothing is said, nothing heard.
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
		name := strings.TrimSuffix(path, ".job")
		if os.Rename(path, name+".taken") == nil {
			return name
		}
	}
	return ""
}

// work is the job itself: it takes as many seconds as its file says.
func work(name string) error {
	text, err := os.ReadFile(name + ".taken")
	if err != nil {
		return err
	}
	takes, err := time.ParseDuration(strings.TrimSpace(string(text)) + "s")
	if err != nil {
		return err
	}
	time.Sleep(takes)
	fmt.Println(filepath.Base(name), "done")
	return os.Remove(name + ".taken")
}

func main() {
	procq, words := connect()
	term, ended, look := make(chan os.Signal, 1), make(chan error), time.Tick(100*time.Millisecond)
	signal.Notify(term, syscall.SIGTERM)

	var name string // of the job in hand
	var began time.Time
	var took time.Duration
	jobs, failed, parked, leaving := 0, 0, false, false
	fmt.Fprint(procq, "READY=1\nX_PROCQ_PARKED=0\n") // who says that it is not parked can be told to park
	for name != "" || !leaving {
		if name == "" && !parked {
			if name = claim(); name != "" {
				fmt.Fprintf(procq, "X_PROCQ_BUSY=1\nX_PROCQ_JOB=%s\n", filepath.Base(name))
				began = time.Now()
				go func(name string) { ended <- work(name) }(name)
			}
		}
		select {
		case word := <-words: // in the middle of a job too: procq waits until nothing is busy either
			if parked = word == "PARK"; parked {
				fmt.Fprintln(procq, "X_PROCQ_PARKED=1")
			} else {
				fmt.Fprintln(procq, "X_PROCQ_PARKED=0")
			}
		case err := <-ended:
			if err != nil {
				log.Printf("%s: %v", filepath.Base(name), err)
				os.Rename(name+".taken", name+".failed")
				failed++
			}
			jobs++
			took += time.Since(began)
			fmt.Fprintf(procq, "X_PROCQ_JOBS=%d\nX_PROCQ_FAILED=%d\nX_PROCQ_TOOK_USEC=%d\nX_PROCQ_BUSY=0\nX_PROCQ_JOB=\n",
				jobs, failed, took.Microseconds())
			name = ""
		case <-term: // the job in hand is finished
			leaving = true
		case <-look:
		}
	}
}
