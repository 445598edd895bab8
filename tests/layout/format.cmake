# Every source is as clang-format-19 writes it. Another version may break lines elsewhere, so none other is asked.
find_program(format clang-format-19)
if(NOT format)
  message(FATAL_ERROR "clang-format-19 is not installed (tools/install_packages.sh)")
endif()
file(GLOB_RECURSE sources ${SOURCE}/frontend/*.cpp ${SOURCE}/frontend/*.h ${SOURCE}/passes/*.cpp ${SOURCE}/passes/*.h
  ${SOURCE}/runtime/*.cpp ${SOURCE}/runtime/*.h ${SOURCE}/tools/*.cpp ${SOURCE}/tools/*.h ${SOURCE}/tests/*.cpp
  ${SOURCE}/tests/*.h ${SOURCE}/examples/*.cpp)
execute_process(COMMAND ${format} --dry-run --Werror ${sources} ERROR_VARIABLE found RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${found}\nclang-format-19 -i FILE… mends it")
endif()
