// Go's goroutines, channels and timers. Cases: spawn, switch, futures, timers, sleepers, stall.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const batch = 1000

var scale = 1.0

func scaled(count int) int {
	if n := int(float64(count) * scale); n > 0 {
		return n
	}
	return 1
}

func cpuNs() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func residentBytes() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	return pages * float64(os.Getpagesize())
}

func cost(operations int, fn func()) float64 {
	start := cpuNs()
	fn()
	return float64(cpuNs()-start) / float64(operations)
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func spawnFinish(count int) float64 {
	batches := count/batch + 1
	return cost(batches*batch, func() {
		for b := 0; b < batches; b++ {
			finished := 0
			for i := 0; i < batch; i++ {
				go func() { finished++ }()
			}
			for finished < batch {
				runtime.Gosched()
			}
		}
	})
}

func switchAmong(count, tasks int) float64 {
	rounds := max(10, count/tasks)
	shot, all := make(chan bool), make(chan bool)
	live, started := tasks, 0
	for i := 0; i < tasks; i++ {
		go func() {
			started++
			<-shot
			for r := 0; r < rounds; r++ {
				runtime.Gosched()
			}
			if live--; live == 0 {
				all <- true
			}
		}()
	}
	for started < tasks {
		runtime.Gosched()
	}
	return cost(tasks*rounds, func() {
		close(shot)
		<-all
	})
}

func switches() map[string]float64 {
	count, many := scaled(2000000), scaled(100000)
	figures := map[string]float64{
		"switch_1_ns":      switchAmong(count, 1),
		"switch_1000_ns":   switchAmong(count, 1000),
		"switch_100000_ns": switchAmong(count, many),
	}
	if listener, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		go func() { _, _ = listener.Accept() }()
		time.Sleep(time.Millisecond)
		figures["switch_1_parked_ns"] = switchAmong(count, 1)
		figures["switch_1000_parked_ns"] = switchAmong(count, 1000)
		figures["switch_100000_parked_ns"] = switchAmong(count, many)
	}
	return figures
}

// A thousand goroutines wait at a thousand unbuffered channels that were made beforehand; see
// futures.lua.
func resolveResume(count int) float64 {
	rounds := max(5, count/batch)
	fresh := func() []chan int {
		channels := make([]chan int, batch)
		for i := range channels {
			channels[i] = make(chan int)
		}
		return channels
	}
	coming := fresh()
	started, resumed, spent := 0, 0, int64(0)
	for i := 0; i < batch; i++ {
		go func(i int) {
			started++
			for r := 0; r < rounds; r++ {
				<-coming[i]
				resumed++
			}
		}(i)
	}
	for started < batch {
		runtime.Gosched()
	}
	for r := 0; r < rounds; r++ {
		waited := coming
		coming, resumed = fresh(), 0
		start := cpuNs()
		for i := range waited {
			waited[i] <- i
		}
		for resumed < batch {
			runtime.Gosched()
		}
		spent += cpuNs() - start
	}
	return float64(spent) / float64(rounds*batch)
}

func hop(count int) float64 {
	rounds := count/2 + 1
	var ball [2]chan int
	all := make(chan bool, 2)
	player := func(mine, other int) {
		for i := 0; i < rounds; i++ {
			ball[mine] = make(chan int)
			if ball[other] != nil {
				ball[other] <- i
			}
			if i+1 == rounds && mine == 1 {
				break
			}
			<-ball[mine]
		}
		all <- true
	}
	return cost(rounds*2, func() {
		go player(0, 1)
		runtime.Gosched()
		go player(1, 0)
		<-all
		<-all
	})
}

func timers(count int) map[string]float64 {
	longest := max(50, scaled(1000))
	if longest > 1000 {
		longest = 1000
	}
	delay := func() time.Duration { return time.Duration(1+rand.Intn(longest)) * time.Millisecond }
	addFire := func() float64 {
		var fired int64
		return cost(count, func() {
			for i := 0; i < count; i++ {
				time.AfterFunc(delay(), func() { atomic.AddInt64(&fired, 1) })
			}
			for atomic.LoadInt64(&fired) < int64(count) {
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	addCancel := func() float64 {
		added := make([]*time.Timer, count)
		return cost(count, func() {
			for i := range added {
				added[i] = time.AfterFunc(delay()+time.Hour, func() {})
			}
			for _, timer := range added {
				timer.Stop()
			}
		})
	}
	addFire()
	addCancel()
	return map[string]float64{"add_fire_ns": addFire(), "add_cancel_ns": addCancel()}
}

func park(count int) {
	for i := 0; i < count; i++ {
		go time.Sleep(1000 * time.Second)
	}
	time.Sleep(100 * time.Millisecond)
}

func sleepers(count int) map[string]float64 {
	runtime.GC()
	before := residentBytes()
	park(count)
	return map[string]float64{"sleeping_task_bytes": (residentBytes() - before) / float64(count)}
}

// As stall.lua does it: the collector runs all the time.
func stall(parked int) map[string]float64 {
	park(parked)
	debug.SetGCPercent(10)
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	time.Sleep(time.Millisecond)
	trash := make([][]byte, 64)
	turns := []float64{}
	worst, began := 0.0, time.Now()
	last, cpu := began, cpuNs()
	for {
		for i := range trash {
			trash[i] = make([]byte, 1000)
		}
		time.Sleep(time.Millisecond)
		time, used := time.Now(), cpuNs()
		if gap := time.Sub(last).Seconds()*1e3 - 1; gap > worst {
			worst = gap
		}
		turns = append(turns, float64(used-cpu)/1e6)
		last, cpu = time, used
		if elapsed := last.Sub(began).Seconds(); elapsed > 20 || elapsed > 0.2 && len(turns)%100 == 0 {
			runtime.ReadMemStats(&now)
			if now.NumGC >= before.NumGC+2 || elapsed > 20 {
				break
			}
			last, cpu = time, cpuNs()
		}
	}
	sort.Float64s(turns)
	return map[string]float64{
		"worst_stall_ms": worst,
		"worst_turn_ms":  turns[len(turns)-1],
		"median_turn_ms": turns[len(turns)/2],
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	if len(os.Args) > 2 {
		scale, _ = strconv.ParseFloat(os.Args[2], 64)
	}
	cases := map[string]func() map[string]float64{
		"spawn": func() map[string]float64 {
			return map[string]float64{"spawn_finish_ns": spawnFinish(scaled(2000000))}
		},
		"switch": switches,
		"futures": func() map[string]float64 {
			return map[string]float64{
				"resolve_resume_ns": resolveResume(scaled(1000000)),
				"hop_ns":            hop(scaled(1000000)),
			}
		},
		"timers":   func() map[string]float64 { return timers(scaled(1000000)) },
		"sleepers": func() map[string]float64 { return sleepers(scaled(100000)) },
		"stall":    func() map[string]float64 { return stall(scaled(50000)) },
	}
	run := cases[os.Args[1]]
	if run == nil {
		fmt.Fprintln(os.Stderr, "no such case")
		os.Exit(2)
	}
	_ = json.NewEncoder(os.Stdout).Encode(run())
}
