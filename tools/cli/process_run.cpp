#include "tools/cli/process_run.h"

#include <dlfcn.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <thread>

#include "frontend/ir/diagnostic.h"
#include "llvm/ADT/StringRef.h"
#include "runtime/comm/failure_text.h"

namespace optp {
namespace {
namespace fs = std::filesystem;
constexpr const char* module_name = "opt-partition-mpi.so";

std::optional<int> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  int number = 0;
  if (!text || llvm::StringRef(text).getAsInteger(10, number)) return std::nullopt;
  return number;
}

llvm::Expected<OpenTransport> load_module(const Launched& launched) {
  auto refuse = [&](const llvm::Twine& why, const llvm::Twine& hint) {
    return error(Code::bad_value)
        .what(llvm::Twine(launched.by) + " started " + llvm::Twine(launched.processes) + " processes")
        .what(why)
        .hint(hint);
  };
  const auto path = find_mpi_module();
  if (!path)
    return refuse(
        "without the module " + llvm::Twine(module_name) + " they can't work together",
        "install the package opt-partition-mpi, or run without " + llvm::Twine(launched.by) + ", with threads");
  // Open MPI's own plugins look for the symbols of its library.
  void* const module = ::dlopen(path->c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!module) return refuse(::dlerror(), "install the MPI library that the module was built with");
  void* const symbol = ::dlsym(module, "opt_partition_open_transport");
  if (!symbol) return refuse(quoted(*path) + " is no module of opt-partition", "");
  return reinterpret_cast<OpenTransport>(symbol);
}

// Calls back unless it is destroyed in time.
class Deadline {
 public:
  Deadline(double seconds, std::function<void()> late)
      : watch_([this, seconds, late = std::move(late)] {
          std::unique_lock lock(mutex_);
          if (!over_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return is_over_; })) late();
        }) {}
  ~Deadline() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    over_.notify_one();
    watch_.join();
  }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread watch_;
};

std::string host() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}
}  // namespace

std::optional<Launched> find_launch() {
  struct Variables {
    const char *by, *processes, *process;
  };
  // Slurm's are those of a step: a batch script, which is one process, has the others of its name, too.
  static constexpr Variables known[] = {{"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                        {"mpirun", "PMI_SIZE", "PMI_RANK"},
                                        {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
  for (const Variables& v : known) {
    const auto processes = number_in(v.processes), process = number_in(v.process);
    if (processes && process && *processes > 1) return Launched{v.by, *process, *processes};
  }
  return std::nullopt;
}

std::optional<std::string> find_mpi_module() {
  std::error_code none;
  std::vector<fs::path> places;
  if (const char* given = std::getenv("OPT_PARTITION_MPI_MODULE")) {
    places.emplace_back(given);
  } else {
    const fs::path folder = fs::read_symlink("/proc/self/exe", none).parent_path();
    places = {folder / module_name, folder / OPTP_LIBRARIES_FROM_PROGRAMS / module_name};
  }
  for (const fs::path& place : places)
    if (fs::is_regular_file(place, none)) return place.string();
  return std::nullopt;
}

ProcessRun::ProcessRun(std::unique_ptr<Transport> transport, Facts facts)
    : transport_(std::move(transport)), facts_(std::move(facts)), mail_(*transport_, MailOptions{}, host()) {}
ProcessRun::~ProcessRun() = default;

llvm::Expected<std::unique_ptr<ProcessRun>> ProcessRun::join(const Launched& launched, Facts facts, double seconds,
                                                             std::function<void(Diagnostic)> late) {
  auto open = load_module(launched);
  if (!open) return open.takeError();
  const char* why = "";
  std::unique_ptr<Transport> transport;
  {
    const Deadline deadline(seconds * (launched.process == 0 ? 1 : 1.25), [&] {
      late(error(Code::rank_failed)
               .what("not all of the " + llvm::Twine(launched.processes) + " processes that " + launched.by +
                     " started have come to MPI's start within " + print_seconds(seconds) + " s")
               .hint("one of them hangs, or a host cannot be reached"));
    });
    transport.reset((*open)(OPTP_VERSION, &why));
  }
  if (!transport)
    return error(Code::bad_value)
        .what("the module " + quoted(*find_mpi_module()))
        .what(why)
        .hint("install the package opt-partition-mpi of version " OPTP_VERSION);
  if (transport->processes() != launched.processes)
    return error(Code::bad_value)
        .what(launched.by + " started " + llvm::Twine(launched.processes) + " processes, and MPI finds " +
              llvm::Twine(transport->processes()))
        .hint("start them with the mpirun of the MPI library that the module was built with");
  return std::unique_ptr<ProcessRun>(new ProcessRun(std::move(transport), std::move(facts)));
}

llvm::Expected<std::unique_ptr<World>> ProcessRun::make_world(llvm::Expected<size_t> ranks, MailOptions options) {
  has_world_ = true;
  mail_.set_options(options);
  return make_process_world(mail_, std::move(ranks), facts_);
}

llvm::Error ProcessRun::settle(llvm::Error error) {
  if (has_world_ || !error) return error;
  return make_world(std::move(error), {}).takeError();
}

bool ProcessRun::speaks() { return transport_->process() == 0 || mail_.has_lost_one(); }

// A launcher that is told to end all processes may do so before it has read what they said last.
static void let_launcher_read() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  for (int unread = 0; ::ioctl(STDERR_FILENO, FIONREAD, &unread) == 0 && unread > 0;) {
    if (std::chrono::steady_clock::now() >= end) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // to pass it on
}

void ProcessRun::end(int code) {
  // The launcher ends all processes as soon as one fails. All is said by now, so nobody has to hear of that.
  std::signal(SIGTERM, SIG_DFL);
  if (!mail_.close()) {
    let_launcher_read();
    transport_->abort(code);
  }
  transport_->close();
}

}  // namespace optp
