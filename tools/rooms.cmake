# Includes point one way. For each room, what it may include; a file that includes anything else stops the build, before
# it is compiled. As a script (cmake -D SOURCE=… -P) this looks at every source, and prints each wrong include.
set(rooms
  "frontend/ir"
  "frontend/io        frontend/ir"
  "frontend/onnx      frontend/ir frontend/io"
  "frontend/onnx/operators  frontend/ir frontend/io frontend/onnx"
  "frontend/models    frontend/ir frontend/io"
  "passes/ops         frontend/ir"
  "passes             frontend/ir passes/ops"
  "passes/strategies  frontend/ir passes"
  "passes/plan        frontend/ir frontend/io frontend/onnx passes"
  "passes/library     frontend/ir frontend/io frontend/onnx passes/plan"
  "runtime/comm       frontend/ir"
  "runtime/mpi        runtime/comm"
  "runtime            frontend/ir runtime/comm"
  "runtime/kernels    frontend/ir runtime"
  "tools/cli          frontend/ir frontend/io frontend/onnx passes passes/plan runtime runtime/comm runtime/kernels"
  "tools/run          frontend/ir frontend/io frontend/onnx frontend/models passes passes/plan runtime runtime/comm runtime/kernels tools/cli"
  "tools/train        frontend/ir frontend/io frontend/onnx passes passes/plan runtime runtime/comm tools/cli tools/run"
  "tools/generate     frontend/ir frontend/io passes passes/plan runtime runtime/comm tools/cli tools/run"
  "tools/check        frontend/ir frontend/io frontend/onnx passes passes/plan runtime runtime/comm runtime/kernels tools/cli tools/run tools/train"
  "tools/plan         frontend/ir frontend/io frontend/onnx frontend/models passes passes/plan tools/cli tools/run tools/check"
  "tools/bench        runtime/comm"
  "tools              frontend/ir frontend/io runtime runtime/comm tools/cli")
# Who may include whose headers.
set(libraries
  "dnnl.hpp           runtime runtime/kernels tools/cli"
  "mpi.h              runtime/mpi tools/bench"
  "onnx/onnx_pb.h     frontend/onnx frontend/onnx/operators frontend/models"
  "CLI/CLI.hpp        tools tools/cli tools/run tools/train tools/generate tools/check tools/plan")

if(NOT CMAKE_SCRIPT_MODE_FILE)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS frontend/*.cpp frontend/*.h passes/*.cpp passes/*.h runtime/*.cpp runtime/*.h tools/*.cpp tools/*.h)
  set(stamp ${PROJECT_BINARY_DIR}/rooms.stamp)
  add_custom_command(OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} -D SOURCE=${PROJECT_SOURCE_DIR} -P ${CMAKE_CURRENT_LIST_FILE}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${sources} ${CMAKE_CURRENT_LIST_FILE} COMMENT "includes point one way" VERBATIM)
  add_custom_target(rooms DEPENDS ${stamp})
  # Every target of the four folders waits for it.
  function(optp_check_rooms folder)
    get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target ${targets})
      add_dependencies(${target} rooms)
    endforeach()
    get_property(folders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
    foreach(inner ${folders})
      optp_check_rooms(${inner})
    endforeach()
  endfunction()
  return()
endif()

cmake_minimum_required(VERSION 3.25)
foreach(row ${rooms})
  string(REGEX REPLACE " +" ";" row "${row}")
  list(POP_FRONT row room)
  list(APPEND names ${room})
  set(of_${room} ${row})
endforeach()
# The innermost room that a path is in.
function(room_of path out)
  set(found "")
  foreach(room ${names})
    string(LENGTH "${room}" length)
    string(LENGTH "${found}" longest)
    string(FIND "${path}" "${room}/" at)
    if(at EQUAL 0 AND length GREATER longest)
      set(found ${room})
    endif()
  endforeach()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

set(wrong "")
foreach(folder frontend passes runtime tools)
  file(GLOB_RECURSE sources RELATIVE ${SOURCE} ${SOURCE}/${folder}/*.cpp ${SOURCE}/${folder}/*.h)
  foreach(source ${sources})
    room_of(${source} room)
    file(STRINGS ${SOURCE}/${source} lines REGEX "^ *# *include")
    foreach(line ${lines})
      set(other "")
      if(line MATCHES "^ *# *include *[\"<]([^\">]+)[\">]")
        set(header ${CMAKE_MATCH_1})
        if(header MATCHES "^\\.")
          cmake_path(GET source PARENT_PATH here)
          cmake_path(APPEND here ${header} OUTPUT_VARIABLE header)
          cmake_path(NORMAL_PATH header)
        endif()
        room_of(${header} other)
      endif()
      if(other)
        if(NOT other STREQUAL room AND NOT other IN_LIST of_${room})
          list(JOIN of_${room} ", " allowed)
          string(APPEND wrong "${source}: includes ${header}: ${room} may include ${allowed}\n")
        endif()
      endif()
      foreach(row ${libraries})
        string(REGEX REPLACE " +" ";" row "${row}")
        list(POP_FRONT row header)
        string(FIND "${line}" "${header}" at)
        if(at GREATER 0 AND NOT room IN_LIST row)
          list(JOIN row ", " allowed)
          string(APPEND wrong "${source}: includes ${header}, which only ${allowed} may\n")
        endif()
      endforeach()
    endforeach()
  endforeach()
endforeach()
if(wrong)
  message(NOTICE "${wrong}")
  message(FATAL_ERROR "an include points the wrong way; tools/rooms.cmake says which are allowed")
endif()
