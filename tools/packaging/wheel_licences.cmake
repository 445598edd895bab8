# Of each library that `program` is linked with, and of the files `inside` it, what Debian says of copyright and licence
# goes to the folder `licences`, with the texts that this refers to.
find_program(dpkg_query dpkg-query)
if(NOT dpkg_query)
  message(STATUS "no dpkg-query: the wheel has no licences of libraries, so it is for this machine only")
  return()
endif()
# These every system has, and auditwheel leaves them out.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${program} RESOLVED_DEPENDENCIES_VAR libraries
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|gcc_s|stdc\\+\\+|z)\\.so")
foreach(file ${libraries} ${inside})
  # dpkg knows files by where they lie, and on some systems /lib is a link to /usr/lib.
  file(REAL_PATH ${file} place)
  string(REGEX REPLACE "^/usr/" "/" short ${place})
  execute_process(COMMAND ${dpkg_query} -S ${file} ${place} ${short} OUTPUT_VARIABLE found ERROR_QUIET)
  string(REGEX MATCH "^[a-z0-9][a-z0-9.+-]*" package "${found}")
  set(copyright /usr/share/doc/${package}/copyright)
  if(package STREQUAL "" OR NOT EXISTS ${copyright})
    message(FATAL_ERROR "${file} goes into the wheel, and no package says under which licence")
  endif()
  file(READ ${copyright} text)
  file(WRITE ${licences}/${package}.txt "${text}")
  string(REGEX MATCHALL "/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]" texts "${text}")
  foreach(common ${texts})
    get_filename_component(name ${common} NAME)
    file(READ ${common} text)
    file(WRITE ${licences}/common-licenses/${name}.txt "${text}")
  endforeach()
endforeach()
