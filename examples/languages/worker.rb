# A worker that tells procq what it does, in plain Ruby. README.md says how to give it jobs.
require "socket"

# The stream between procq and this worker. Run by hand there is none: nothing is said, and nothing heard.
class Procq
  def initialize
    number = ENV["PROCQ_NOTIFY_FD"]
    @stream = UNIXSocket.for_fd(number.to_i) if number
    @gate = Mutex.new
    @parked = false
    Thread.new { listen } if @stream
  end

  # One write is one message: procq takes all of its lines at once.
  def say(*lines)
    @stream&.write(lines.join("\n") + "\n")
  rescue SystemCallError
    @stream = nil # procq has gone; the jobs have not
  end

  # What takes a job and says so, as the block does, has to be one thing: no PARK may be answered in its middle.
  def unless_parked
    @gate.synchronize { yield unless @parked }
  end

  private

  # A PARK in the middle of a job is answered at once too: procq waits until nothing is busy either.
  def listen
    while (word = @stream.gets)
      @gate.synchronize do
        @parked = word.chomp == "PARK" # and not RESUME
        say("X_PROCQ_PARKED=#{@parked ? 1 : 0}")
      end
    end
  end
end

# Takes a job by renaming its file: of all who try, one succeeds. Its name, or nil where there is none.
def claim
  Dir.glob("*.job", base: "spool").map { |file| File.basename(file, ".job") }.find do |name|
    File.rename("spool/#{name}.job", "spool/#{name}.taken")
  rescue Errno::ENOENT
    false
  end
end

# The job itself: it takes as many seconds as its file says.
def work(name)
  sleep Float(File.read("spool/#{name}.taken"))
  puts "#{name} done"
end

$stdout.sync = true
leaving = false
trap("TERM") { leaving = true } # the job in hand is finished

# Durations are counted in places: up to 1, 2, 5, 10, 20, 50 … 10,000,000 milliseconds, and longer.
bounds = (0..7).flat_map { |power| [1, 2, 5].map { |factor| factor * 10**power } }.first(22)
counts = Array.new(bounds.size + 1, 0)
jobs = failed = took = 0

procq = Procq.new
procq.say("READY=1", "X_PROCQ_PARKED=0") # who says that it is not parked can be told to park
until leaving
  name = procq.unless_parked { claim&.tap { |found| procq.say("X_PROCQ_BUSY=1", "X_PROCQ_JOB=#{found}") } }
  next sleep(0.1) if name.nil?

  began = Process.clock_gettime(Process::CLOCK_MONOTONIC, :float_millisecond)
  begin
    work(name)
    File.delete("spool/#{name}.taken")
  rescue StandardError => error
    warn "#{name}: #{error.message}"
    File.rename("spool/#{name}.taken", "spool/#{name}.failed")
    failed += 1
  end
  milliseconds = Process.clock_gettime(Process::CLOCK_MONOTONIC, :float_millisecond) - began
  jobs += 1
  took += milliseconds
  counts[bounds.index { |bound| milliseconds <= bound } || bounds.size] += 1
  procq.say("X_PROCQ_JOBS=#{jobs}", "X_PROCQ_FAILED=#{failed}", "X_PROCQ_BUSY=0", "X_PROCQ_JOB=",
            "X_PROCQ_TOOK_USEC=#{(took * 1000).round}", "X_PROCQ_TOOK=#{counts.join(",")}")
end
