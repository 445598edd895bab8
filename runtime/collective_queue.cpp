#include "runtime/collective_queue.h"

#include "runtime/comm/communicator.h"

namespace optp {

CollectiveQueue::~CollectiveQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begun_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void CollectiveQueue::begin(const CollectiveCall& call, const void* in, void* out, int64_t in_bytes) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back({&call, in, out, in_bytes});
    ++number_begun_;
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  begun_.notify_one();
}

void CollectiveQueue::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    begun_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const Task task = tasks_.front();
    if (!failure_) {
      lock.unlock();
      llvm::Error e = attempt(task);
      lock.lock();
      if (e) failure_ = take_diagnostic(std::move(e));
    }
    tasks_.pop_front();
    ++number_done_;
    done_.notify_one();
  }
}

// An exception must not leave the thread.
llvm::Error CollectiveQueue::attempt(const Task& task) const {
  try {
    return communicate(communicator_, *task.call, task.in, task.out, task.in_bytes);
  } catch (const std::bad_alloc&) {
    return error(Code::out_of_memory, "out of memory");
  } catch (const std::exception& e) {
    return error(Code::bug, std::string("internal: ") + e.what());
  }
}

llvm::Error CollectiveQueue::wait_for(size_t count) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return number_done_ >= count; });
  if (!failure_) return llvm::Error::success();
  return *failure_;
}

llvm::Error CollectiveQueue::finish() {
  if (number_begun_ == 0) return llvm::Error::success();
  llvm::Error e = wait_for(number_begun_);
  const std::lock_guard lock(mutex_);
  number_begun_ = number_done_ = 0;
  return e;
}

void CollectiveQueue::give_up(llvm::StringRef message) {
  if (number_begun_ > 0 && communicator_) communicator_->abort(message);
}
}  // namespace optp
