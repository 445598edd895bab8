# For a pip wheel (pyproject.toml): the program inside its package, and the licences of what it is linked with.
set(OPTP_BUILT_PROGRAM "" CACHE FILEPATH "a program that was built already, which the wheel then takes")
add_custom_target(wheel)
if(OPTP_BUILT_PROGRAM)
  set(wheel_program ${OPTP_BUILT_PROGRAM})
else()
  set(wheel_program $<TARGET_FILE:opt-partition>)
  add_dependencies(wheel opt-partition)
endif()
install(PROGRAMS ${wheel_program} DESTINATION opt_partition/bin COMPONENT wheel)
# What is inside the program itself: libraries that were linked as archives, and headers that are more than interfaces.
# Boost's licence asks for nothing in programs.
find_path(cli11_include CLI/CLI.hpp REQUIRED NO_CACHE)
install(CODE "set(program \"\${CMAKE_INSTALL_PREFIX}/opt_partition/bin/opt-partition\")
set(inside \"${LLVM_LIBRARY_DIR}/libLLVMSupport.a\" \"${cli11_include}/CLI/CLI.hpp\")
set(licences \"${SKBUILD_METADATA_DIR}/licenses\")
include(\"${CMAKE_CURRENT_LIST_DIR}/wheel_licences.cmake\")" COMPONENT wheel)
