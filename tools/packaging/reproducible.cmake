# The same sources give the same package: what has a time gets that of the last commit, or SOURCE_DATE_EPOCH.
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
  execute_process(COMMAND git log -1 --format=%ct WORKING_DIRECTORY ${CMAKE_CURRENT_LIST_DIR} OUTPUT_VARIABLE time OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT time)
    set(time 0)  # an archive without its history
  endif()
  set(ENV{SOURCE_DATE_EPOCH} ${time})
endif()
